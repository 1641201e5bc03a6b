"""Images as they are, at their own size: what is evaluated, and what it is evaluated against.

Nothing is cropped, scaled or converted in silence: a set has one size, grey images become RGB and
are counted, and 16 bits or an alpha channel are refused.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from jittor_ddim.data.folder import EXTENSIONS, is_image, list_files, open_contents
from jittor_ddim.errors import DataError
from jittor_ddim.image_files import open_npz, show_size

Pixels = NDArray[np.uint8]

_JPEG = frozenset((".jpg", ".jpeg"))
_BITS_PER_SAMPLE = 258  # TIFF's number of that tag
_CHUNK = 1024  # images hashed at a time


@dataclass(frozen=True)
class UnscaledImages:
    """A set of images of one size.

    :ivar size: height and width
    :ivar load: the images of some rows, RGB (B, H, W, 3); threads may call it at once
    :ivar fingerprint: a hash of the contents; it reads all of them
    :ivar ignored: how many files are not images by their extension
    :ivar jpeg: how many are JPEG files, whose statistics differ from lossless images'
    :ivar grey: the rows of those loaded so far that were grey
    """

    name: str
    count: int
    size: tuple[int, int]
    load: Callable[[range], Pixels]
    fingerprint: Callable[[], str]
    ignored: int = 0
    jpeg: int = 0
    grey: set[int] = field(default_factory=set)

    def batches(self, batch_size: int) -> Iterator[Callable[[], Pixels]]:
        """Yield what loads one batch after the other, so that threads can decode them."""
        for start in range(0, self.count, batch_size):
            rows = range(start, min(start + batch_size, self.count))
            yield lambda rows=rows: self.load(rows)


def from_arrays(arrays: Sequence[Pixels], name: str) -> UnscaledImages:
    """Return images (N, H, W, 1 or 3) of one size that lie in arrays, or in memory maps."""
    grey: set[int] = set()
    starts = np.cumsum([0, *map(len, arrays)]).tolist()  # never joined: they may not fit in memory

    def load(rows: range) -> Pixels:
        parts = [
            array[max(0, rows.start - start) : max(0, rows.stop - start)]
            for start, array in zip(starts, arrays, strict=False)
        ]
        pixels = np.concatenate([part for part in parts if len(part)])
        if pixels.shape[3] == 1:
            grey.update(rows)
        return to_rgb(pixels)

    def fingerprint() -> str:
        height, width, channels = arrays[0].shape[1:]
        digest = hashlib.sha256(repr((starts[-1], height, width, channels)).encode())
        for array in arrays:
            for start in range(0, len(array), _CHUNK):
                digest.update(np.ascontiguousarray(array[start : start + _CHUNK]).data)
        return digest.hexdigest()

    height, width = arrays[0].shape[1:3]
    return UnscaledImages(name, starts[-1], (height, width), load, fingerprint, grey=grey)


def to_rgb(pixels: Pixels) -> Pixels:
    """Return grey images (B, H, W, 1) in three channels, and RGB ones as they are."""
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


@contextmanager
def open_unscaled(path: Path) -> Iterator[UnscaledImages]:
    """Open a folder, a zip or an ``.npz`` of images; numbered files come in numerical order.

    :raises DataError: if there are no images in it or the first cannot be used; later ones are
        refused when they are loaded
    """
    root = path.expanduser().resolve()
    if root.suffix == ".npz":
        yield from_arrays([open_npz(root)], str(path))
        return
    files = list_files(root)
    names = sorted((name for name in files if is_image(name)), key=_numerically)
    if not names:
        raise DataError(f"{path}: no images in it (looked for {', '.join(sorted(EXTENSIONS))})")
    grey: set[int] = set()
    with open_contents(root) as read:

        def load_one(row: int) -> Pixels:
            pixels = _decode(read, names[row], path)
            if pixels.shape[2] == 1:
                grey.add(row)
            return to_rgb(pixels[None])[0]

        height, width = load_one(0).shape[:2]
        size = height, width
        grey.clear()

        def load(rows: range) -> Pixels:
            loaded = [load_one(row) for row in rows]
            for row, pixels in zip(rows, loaded, strict=True):
                if pixels.shape[:2] != size:
                    raise DataError(
                        f"{path}: {names[row]} is {show_size(pixels.shape[:2])}, {names[0]} is "
                        f"{show_size(size)}; a set has one size"
                    )
            return np.stack(loaded)

        yield UnscaledImages(
            name=str(path),
            count=len(names),
            size=size,
            load=load,
            fingerprint=lambda: _hash_files(read, names),
            ignored=len(files) - len(names),
            jpeg=sum(PurePosixPath(name).suffix.lower() in _JPEG for name in names),
            grey=grey,
        )


def _decode(read: Callable[[str], bytes], name: str, path: Path) -> Pixels:
    try:
        content = read(name)
        with Image.open(BytesIO(content)) as image:
            if problem := _problem(image, content):
                raise DataError(f"{path}: {name} has {problem}; convert it to 8-bit RGB")
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow and zipfile raise anything
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot decode {name} ({reason}); remove it") from None
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _problem(image: Image.Image, content: bytes) -> str | None:
    """What keeps an image from being taken as it is."""
    if "A" in image.mode or "transparency" in image.info:
        return "an alpha channel, and what shows through is not known"
    if image.mode.startswith(("I", "F")) or _bits(image, content) > 8:
        return "more than 8 bits"
    return None if image.mode in ("L", "RGB", "P") else f"mode {image.mode}"


def _bits(image: Image.Image, content: bytes) -> int:
    """Return the bits of a channel: Pillow cuts 16 to 8 in silence where an image is RGB."""
    if image.format == "PNG":
        return content[24]  # of the header, behind width and height
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    return 8


def _hash_files(read: Callable[[str], bytes], names: Sequence[str]) -> str:
    """Hash the files' bytes in their order; what they are called is no part of it."""
    digest = hashlib.sha256()
    for name in names:
        try:
            content = read(name)
        except DataError:
            raise
        except Exception as error:  # what zipfile raises of a damaged entry is anything
            raise DataError(f"cannot read {name} ({error}); remove it") from None
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def _numerically(name: str) -> list[str | int]:
    """A key by which 2.png comes before 10.png: text and numbers alternate."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]
