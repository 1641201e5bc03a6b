"""Any image file as upright 8-bit grey or RGB, by the same rules everywhere.

An image is turned by its EXIF orientation, transparent pixels are composited onto a background,
and deeper samples become 8 bits:

16 bits per channel: the high byte; floats in 0 … 1: round(255 v); 32-bit integers in 0 … 255: as
they are. Any other range, and signed samples, are refused: it is unknown what is black and what
white, and one rule must hold for all images of a set. Of several frames or pages the first is
used; colour profiles are not applied.
"""

import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from PIL.Image import Transpose
from PIL.TiffImagePlugin import TiffImageFile

#: Part of the name of everything computed from decoded images; raise it when a rule changes.
RULES = 2

#: Formats that Pillow lists but cannot decode: EPS needs Ghostscript, WMF needs Windows, IPTC is
#: metadata, of the others it reads only the header.
_NO_IMAGES = frozenset(("EPS", "WMF", "IPTC", "BUFR", "GRIB", "HDF5", "MPEG"))
#: Their other frames are layers or previews of the first.
_ONE_PICTURE = frozenset(("PSD", "MPO"))
# Tags of TIFF, the first of EXIF too.
_ORIENTATION, _PHOTOMETRIC, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 274, 262, 258, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
#: By EXIF orientation. Not ImageOps.exif_transpose: it writes the metadata anew, and fails if they
#: are damaged.
_TURN = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Pillow only warns of an image that is up to twice too large. Make that an error that names the
# file, as for larger ones; here, since threads share the filters.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    :ivar image: mode L or RGB
    :ivar changes: what was done to it, to be reported, such as "turned upright (EXIF)"
    """

    image: Image.Image
    changes: tuple[str, ...]


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 … 255, of '#rrggbb' or of a name that Pillow knows.

    :raises ValueError: if it is not an opaque colour
    """
    try:
        values = ImageColor.getrgb(colour)
    except (ValueError, AttributeError, TypeError):
        values = ()
    if len(values) != 3:
        raise ValueError("takes an opaque colour: a name, or '#rrggbb' in quotes")
    return values


def formats() -> list[str]:
    """Return Pillow's names of the formats that can be read."""
    Image.init()
    return [name for name in Image.ID if name not in _NO_IMAGES]


def open_image(content: bytes) -> Image.Image:
    """Open an image file from its bytes; nothing is decoded yet.

    :raises Exception: nearly any, if it is damaged or not an image
    """
    try:
        return Image.open(BytesIO(content), formats=formats())
    except Image.UnidentifiedImageError:  # its message names an object in memory
        raise Image.UnidentifiedImageError("not an image that Pillow can read") from None


def eight_bits(image: Image.Image, background: str) -> Decoded:
    """Decode an opened image by the rules above.

    :param background: composited behind transparent pixels: '#rrggbb', or a name Pillow knows
    :raises ValueError: if black and white are not defined for its samples
    :raises Exception: nearly any, if the file is damaged
    """
    changes = []
    if getattr(image, "is_animated", False) and image.format not in _ONE_PICTURE:
        changes.append("only the first of several frames or pages used")
    bits = _bits(image)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    turned, photometric = tags.get(_ORIENTATION) in _TURN, tags.get(_PHOTOMETRIC)
    if bits <= 16 and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise ValueError(f"signed {bits}-bit samples; save it with unsigned ones")
    _scale_transparent_grey(image)
    image.load()  # Pillow turns a TIFF here, and takes the tag away
    turn = _TURN.get(_orientation(image))
    if turned or turn is not None:
        changes.append("turned upright (EXIF)")
    if image.mode.startswith(("I", "F")):
        image, change = _shallow(image, bits, photometric)
        changes.append(change)
    elif bits > 8:  # Pillow has cut it already
        changes.append(_high_byte(bits))
        if isinstance(colour := image.info.get("transparency"), tuple):
            image.info["transparency"] = tuple(value >> 8 for value in colour)
    image, change = _without_alpha(image, background)
    changes += change
    if image.mode not in ("L", "RGB"):
        if image.mode not in ("1", "P", "RGBX"):
            changes.append(f"{image.mode} converted to RGB")
        image = image.convert("L" if image.mode == "1" else "RGB")
    return Decoded(image if turn is None else image.transpose(turn), tuple(changes))


def _bits(image: Image.Image) -> int:
    """The bits per channel: Pillow silently cuts 16 to 8 if an image is not grey."""
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        return 32
    tile = getattr(image, "tile", None)  # how the file's samples are laid out
    # As mode I, with 32 bits, Pillow opens 16-bit grey of PPM and, in older versions, of PNG
    return 16 if image.mode.startswith("I") or (tile and ";16" in str(tile[0][3])) else 8


def _scale_transparent_grey(image: Image.Image) -> None:
    """Scale a PNG's transparent grey of 2 or 4 bits to 8, as Pillow does with the pixels only."""
    tile = getattr(image, "tile", None)
    raw = str(tile[0][3]) if tile else ""
    transparent = image.info.get("transparency")
    if image.format == "PNG" and raw in ("L;2", "L;4") and isinstance(transparent, int):
        image.info["transparency"] = transparent * 255 // (2 ** int(raw[2:]) - 1)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata raises nearly anything, and the image may be whole
        return 1


def _high_byte(bits: int) -> str:
    return f"the high 8 of {bits} bits used"


def _shallow(image: Image.Image, bits: int, photometric: int | None) -> tuple[Image.Image, str]:
    """The grey image of deep samples, with alpha if a value is declared transparent."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not 0 <= low <= high <= 1:  # NaN is not either
            raise ValueError(
                f"floats from {low:g} to {high:g}, but must be in 0 … 1; save it with 8 bits"
            )
        grey, change = np.rint(values * 255.0), "floats in 0 … 1 scaled to 0 … 255"
    elif image.mode != "I" or bits <= 16 and low >= 0:
        grey, change = values >> (bits - 8), _high_byte(bits)
    elif 0 <= low <= high <= 255:
        grey, change = values, "32-bit integers in 0 … 255 used as they are"
    else:
        raise ValueError(
            f"integers from {low} to {high}, but must be in 0 … 255; save it with 8 or 16 bits"
        )
    if photometric == _WHITE_IS_ZERO:  # Pillow inverts 8 bits only
        grey = 255 - grey
    flat = Image.fromarray(grey.astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha: NDArray[np.uint8] = np.where(values == transparent, 0, 255).astype(np.uint8)
        flat = Image.merge("LA", (flat, Image.fromarray(alpha)))
    return flat, change


def _without_alpha(image: Image.Image, background: str) -> tuple[Image.Image, list[str]]:
    if not image.has_transparency_data:
        return image, []
    grey = image.mode in ("1", "L", "LA", "La")
    full = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = full.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return full.convert("L" if grey else "RGB"), []
    flat = Image.new("RGB", full.size, rgb(background))
    flat.paste(full.convert("RGB"), mask=alpha)
    return flat, [f"transparent pixels composited onto {background}"]
