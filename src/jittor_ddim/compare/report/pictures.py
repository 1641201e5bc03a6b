"""What both sides drew from the same noise: grids, differences, animations."""

import base64
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Pixels, Samples
from jittor_ddim.figures.animation import animate, spread
from jittor_ddim.figures.formatting import percent
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import save_image

#: A grid has at most so many images, 8 x 8.
_MOST_IMAGES = 64
#: Pixels between the two sides of one picture.
_GAP = 16
_SECONDS, _HOLD_SECONDS = 5.0, 2.0
#: What all animations of the page may take together, and how wide its other pictures may be.
_ANIMATION_BYTES = 2_400_000
_WIDEST = 640
_PICTURE_BYTES = 250_000
#: Lossless is a third smaller than PNG; what is too large even so loses what hardly shows.
_WEBP: tuple[dict[str, Any], ...] = (
    {"lossless": True},
    {"quality": 90},
    {"quality": 75},
    {"quality": 40},
)
#: More frames than this are not told apart.
_MOST_FRAMES = 40


@dataclass(frozen=True)
class Picture:
    """An image of the page as a ``data:`` address, with its file for those who want it whole."""

    address: str
    alternative: str
    caption: str
    file: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureSet:
    """All pictures of one eta."""

    title: str
    grids: list[Picture]  # first side, second side, difference
    animation: Picture | None


def difference(first: Pixels, second: Pixels) -> tuple[Pixels, int]:
    """Return ``|a - b| * factor`` and the factor, which makes the largest difference visible.

    :returns: uint8 like the images; factor = floor(255 / largest difference), 1 if there is none
    """
    apart = np.abs(first.astype(np.int16) - second)
    largest = int(apart.max(initial=0))
    factor = 255 // largest if largest else 1
    return (apart * factor).astype(np.uint8), factor


def write_pictures(
    comparison: Comparison, samples: Sequence[Samples], words: Words, folder: Path
) -> list[PictureSet]:
    """Write grids and animations of every eta, and return them for the page."""
    moving = sum(one.frames is not None for one in samples)
    bound = _ANIMATION_BYTES // max(1, moving)
    return [_write_set(comparison, one, words, folder, bound) for one in samples]


def _write_set(
    comparison: Comparison, samples: Samples, words: Words, folder: Path, bound: int
) -> PictureSet:
    tag = f"eta{samples.eta:g}"
    first, second = (images[:_MOST_IMAGES] for images in samples.images)
    apart, factor = difference(first, second)
    names = [side.name for side in comparison.sides]
    largest = int(np.abs(first.astype(np.int16) - second).max(initial=0))
    share = float((np.abs(first.astype(np.int16) - second) > 1).mean())
    stated = words("picture.difference", factor=factor, largest=largest, share=percent(share))
    captions = [*names, stated]
    grids = []
    for part, images, caption in zip(
        ("first", "second", "difference"), (first, second, apart), captions, strict=True
    ):
        background = 0 if part == "difference" else 255
        whole = grid(images, background=background)
        path = folder / f"{tag}_{part}.png"
        save_image(path, whole)
        text = words(f"picture.{part}_alternative", first=names[0], second=names[1])
        grids.append(_embedded(whole, text, caption, f"images/{path.name}"))
    title = words(
        "picture.title", eta=f"{samples.eta:g}", steps=samples.timesteps, count=len(first)
    )
    return PictureSet(title, grids, _animations(samples, names, words, folder, tag, bound))


def _animations(
    samples: Samples, names: list[str], words: Words, folder: Path, tag: str, bound: int
) -> Picture | None:
    """Write both sides in one file and each alone, all with the same frames and times."""
    if samples.frames is None:
        return None
    chosen = spread(len(samples.frames[0]), _MOST_FRAMES)
    first, second = (
        np.stack([grid(frames[k][:_MOST_IMAGES], scale=_scale(frames)) for k in chosen])
        for frames in samples.frames
    )
    gap = np.full((*first.shape[:2], _GAP, first.shape[3]), 255, np.uint8)
    parts = {
        "both": np.concatenate([first, gap, second], axis=2),
        "first": first,
        "second": second,
    }
    for part, shown in parts.items():
        # No bound: fewer frames in one file would no longer keep step with the others.
        animate(shown, folder / f"{tag}_{part}.gif", _SECONDS, _HOLD_SECONDS, max_bytes=1 << 40)
    text = words("picture.animation_alternative", first=names[0], second=names[1])
    caption = words("picture.animation", first=names[0], second=names[1])
    with tempfile.TemporaryDirectory() as temporary:
        small = Path(temporary) / "both.webp"  # half the bytes of a GIF, so larger in the page
        animate(parts["both"], small, _SECONDS, _HOLD_SECONDS, bound)
        with Image.open(small) as image:
            width, height = image.size
        address = _address(small.read_bytes(), "webp")
    return Picture(address, text, caption, f"images/{tag}_both.gif", width, height)


def _scale(frames: Pixels) -> int:
    """Enlarge tiny images, so that a grid of both sides is about as wide as the page."""
    return max(1, 32 // max(frames.shape[2:4]))


def _embedded(whole: Pixels, alternative: str, caption: str, file: str) -> Picture:
    """The picture as the page carries it: reduced where it is large."""
    picture = Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)
    if picture.width > _WIDEST:
        size = (_WIDEST, round(picture.height * _WIDEST / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    data = b""
    for options in _WEBP:
        buffer = io.BytesIO()
        picture.save(buffer, "webp", **options)
        data = buffer.getvalue()
        if len(data) <= _PICTURE_BYTES:
            break
    address = _address(data, "webp")
    return Picture(address, alternative, caption, file, picture.width, picture.height)


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
