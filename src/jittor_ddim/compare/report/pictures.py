"""What the sides sampled from the same noise: grids, differences, animations."""

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
from jittor_ddim.pages.drawings import image_address, ordinal

#: A grid has at most so many images, 8 x 8.
_MOST_IMAGES = 64
#: Pixels between the sides of one picture.
_GAP = 16
_SECONDS, _HOLD_SECONDS = 5.0, 2.0
#: What all animations of the page may take together, and how wide its other pictures may be.
_ANIMATION_BYTES = 2_400_000
_WIDEST = 640
_PICTURE_BYTES = 250_000
#: Lossless is a third smaller than PNG; what is too large even so loses what hardly shows.
_WEBP: list[dict[str, Any]] = [{"lossless": True}, *({"quality": q} for q in (90, 75, 40))]
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
    grids: list[Picture]  # every side's, then the difference of each but the first from the first
    animation: Picture | None


def difference(first: Pixels, second: Pixels) -> tuple[Pixels, int, int, float]:
    """Return ``|a - b| * factor`` like the images, the factor, and what was found.

    :returns: also the largest difference, and the share of values that differ by more than 1;
        factor = floor(255 / largest difference), 1 if there is none
    """
    apart = np.abs(first.astype(np.int16) - second)
    largest = int(apart.max(initial=0))
    factor = 255 // largest if largest else 1
    return (apart * factor).astype(np.uint8), factor, largest, float((apart > 1).mean())


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
    variant, tag = samples.variant, samples.variant.tag
    names = [side.name for side in comparison.sides]
    first, *others = images = [of_side[:_MOST_IMAGES] for of_side in samples.images]
    grids = []

    def add(part: str, images: Pixels, background: int, alternative: str, caption: str) -> None:
        whole = grid(images, background=background)
        path = folder / f"{tag}_{part}.png"
        save_image(path, whole)
        grids.append(_embedded(whole, alternative, caption, f"images/{path.name}"))

    for index, (name, shown) in enumerate(zip(names, images, strict=True)):
        text = words("picture.side_alternative", name=name)
        add(ordinal(index), shown, 255, text, name)
    for index, (name, other) in enumerate(zip(names[1:], others, strict=True), start=1):
        apart, factor, largest, share = difference(first, other)
        caption = words("picture.difference", factor=factor, largest=largest, share=percent(share))
        text = words("picture.difference_alternative", first=names[0], second=name)
        part = "difference" if index == 1 else f"difference_{ordinal(index)}"
        add(part, apart, 0, text, caption if len(names) == 2 else f"{name}: {caption}")
    name = variant.title if variant.eta is None else words("picture.eta", eta=variant.title)
    title = words("picture.title", name=name, steps=samples.timesteps, count=len(first))
    return PictureSet(title, grids, _animations(samples, names, words, folder, tag, bound))


def _animations(
    samples: Samples, names: list[str], words: Words, folder: Path, tag: str, bound: int
) -> Picture | None:
    """Write all sides in one file and each alone, all with the same frames and times."""
    if samples.frames is None:
        return None
    chosen = spread(len(samples.frames[0]), _MOST_FRAMES)
    sides = [
        np.stack([grid(frames[k][:_MOST_IMAGES], scale=_scale(frames)) for k in chosen])
        for frames in samples.frames
    ]
    gap = np.full((*sides[0].shape[:2], _GAP, sides[0].shape[3]), 255, np.uint8)
    together = "both" if len(sides) == 2 else "all"
    parts = {ordinal(index): shown for index, shown in enumerate(sides)}
    parts[together] = np.concatenate([sides[0], *(x for s in sides[1:] for x in (gap, s))], axis=2)
    for part, shown in parts.items():
        # No bound: fewer frames in one file would no longer keep step with the others.
        animate(shown, folder / f"{tag}_{part}.gif", _SECONDS, _HOLD_SECONDS, max_bytes=1 << 40)
    text = words("picture.animation_alternative", sides=words.listing(names))
    caption = words("picture.animation", sides=words.listing(names))
    with tempfile.TemporaryDirectory() as temporary:
        small = Path(temporary) / "small.webp"  # half the bytes of a GIF, so larger in the page
        animate(parts[together], small, _SECONDS, _HOLD_SECONDS, bound)
        with Image.open(small) as image:
            width, height = image.size
        address = image_address(small.read_bytes(), "webp")
    return Picture(address, text, caption, f"images/{tag}_{together}.gif", width, height)


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
    address = image_address(data, "webp")
    return Picture(address, alternative, caption, file, picture.width, picture.height)
