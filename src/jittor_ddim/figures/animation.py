"""Animated GIF and WebP of bounded size, by Pillow."""

import io
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.atomic import write_atomic
from jittor_ddim.errors import UserError

_LOGGER = logging.getLogger(__name__)
#: A GIF counts time in units of 10 ms, and viewers slow down frames of less than two.
_FRAMES_PER_SECOND = 50
#: Fewer frames per second no longer look like motion; then the size gives way.
_FEWEST_PER_SECOND = 5
_SMALLEST_SIDE = 64
#: The share of frames, or of height and width, that the next attempt keeps.
_FEWER, _SMALLER = 0.8, 0.85
#: What gives way last, step by step: the colours of a GIF, the quality of a WebP.
_LEVELS = {".gif": (256, 128, 64, 32, 16), ".webp": (90, 75, 60, 40, 20)}
_LEVEL_NAMES = {".gif": "{} colours", ".webp": "quality {}"}
_PALETTE_FRAMES = 8
_GREYS = bytes(level for level in range(256) for _ in "RGB")


class _Plan(NamedTuple):
    """How much of the animation to keep."""

    frames: int
    width: int
    height: int
    level: int  # of _LEVELS


def spread(count: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` of the indices 0 … count-1, evenly spread, first and last in.

    A single one is the last.
    """
    if count < 1 or wanted < 1:
        raise ValueError(f"count and wanted must be positive, got {count} and {wanted}")
    if wanted == 1:
        return [count - 1]
    return [int(i) for i in np.linspace(0, count - 1, min(count, wanted)).round()]


def check_duration(seconds: float) -> None:
    """Refuse an animation of less than 0.1 or more than 600 seconds.

    :raises UserError: naming both limits
    """
    if not 0.1 <= seconds <= 600:
        raise UserError(f"an animation takes 0.1 to 600 seconds, got {seconds:g}")


def animate(
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    path: Path,
    seconds: float,
    hold_seconds: float,
    max_bytes: int = 5_000_000,
) -> None:
    """Write an endless animation, GIF or WebP by the path's suffix, of at most ``max_bytes``.

    Frames are left out evenly if there are more than the time can show. To stay below
    ``max_bytes`` frames are left out first, then the picture is made smaller, then colours (GIF)
    or quality (WebP) are reduced; what was done is logged.

    :param frames: F images, uint8 (H, W, 1) or (H, W, 3)
    :param seconds: how long one turn takes, the hold included; 0.1 … 600
    :param hold_seconds: how long the last frame stays on longer, at most half of ``seconds``
    :raises UserError: for another suffix, a duration out of range, or if nothing fits
    """
    suffix = path.suffix.lower()
    if suffix not in _LEVELS:
        raise UserError(f"{path}: an animation ends in .gif or .webp")
    check_duration(seconds)
    hold = min(max(hold_seconds, 0.0), seconds / 2)
    moving = seconds - hold
    height, width = frames[0].shape[:2]
    full = _Plan(min(len(frames), int(moving * _FRAMES_PER_SECOND)), width, height, 0)
    fewest = min(full.frames, max(2, math.ceil(moving * _FEWEST_PER_SECOND)))
    most = math.inf  # pixels that can fit at full colours: fewer never take fewer bytes each
    for plan in _plans(full, fewest, len(_LEVELS[suffix])):
        pixels = plan.frames * plan.width * plan.height
        if pixels > most and plan.level == 0:
            continue
        data = _encode(frames, suffix, plan, moving, hold)
        most = pixels * max_bytes / len(data)
        if len(data) <= max_bytes:
            break
    else:
        raise UserError(f"{path}: cannot be made as small as {max_bytes} bytes; allow more")
    write_atomic(path, data, sync=False)
    if plan.frames < len(frames) or plan != full:
        _LOGGER.info("%s: %s", path, _describe(plan, full, len(frames), suffix))


def _plans(plan: _Plan, fewest: int, levels: int) -> Iterator[_Plan]:
    """What to try, from the whole animation down to the smallest."""
    yield plan
    while plan.frames > fewest:
        plan = plan._replace(frames=max(fewest, int(_FEWER * plan.frames)))
        yield plan
    while (side := min(plan.width, plan.height)) > _SMALLEST_SIDE:
        shrink = max(_SMALLER, _SMALLEST_SIDE / side)
        plan = plan._replace(width=int(plan.width * shrink), height=int(plan.height * shrink))
        yield plan
    for level in range(1, levels):
        plan = plan._replace(level=level)
        yield plan
    while plan.frames > 1:
        plan = plan._replace(frames=plan.frames // 2)
        yield plan


def _encode(
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    suffix: str,
    plan: _Plan,
    moving: float,
    hold: float,
) -> bytes:
    pictures = [_picture(frames[i], plan) for i in spread(len(frames), plan.frames)]
    ends = np.linspace(0, moving * 100, len(pictures) + 1).round().astype(int)
    durations = [int(d) * 10 for d in np.diff(ends)]
    durations[-1] += round(hold * 100) * 10
    buffer = io.BytesIO()
    if suffix == ".gif":
        pictures = _with_one_palette(pictures, _LEVELS[suffix][plan.level])
        # Given once here, or Pillow repeats the palette in every frame.
        options = {"palette": bytes(pictures[0].getpalette() or _GREYS)}
    else:
        options = {"quality": _LEVELS[suffix][plan.level], "method": 4}
    options |= {"append_images": pictures[1:], "duration": durations, "loop": 0}
    pictures[0].save(buffer, suffix[1:], save_all=True, **options)
    return buffer.getvalue()


def _picture(frame: NDArray[np.uint8], plan: _Plan) -> Image.Image:
    picture = Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)
    if picture.size == (plan.width, plan.height):
        return picture
    return picture.resize((plan.width, plan.height), Image.Resampling.LANCZOS)


def _with_one_palette(pictures: list[Image.Image], colours: int) -> list[Image.Image]:
    """Reduce to one palette without dithering: per-frame palettes and dither patterns flicker."""
    if pictures[0].mode == "L" and colours == 256:
        return pictures  # the 256 greys are a palette, and lossless
    samples = [pictures[i] for i in spread(len(pictures), _PALETTE_FRAMES)]
    samples += [pictures[-1]] * _PALETTE_FRAMES  # the result counts as much as the way to it
    mosaic = np.concatenate([np.asarray(sample.convert("RGB")) for sample in samples])
    palette = Image.fromarray(mosaic).quantize(colours, method=Image.Quantize.MEDIANCUT)
    return [
        picture.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]


def _describe(plan: _Plan, full: _Plan, count: int, suffix: str) -> str:
    parts = [f"{plan.frames} of {count} frames"]
    if plan.width < full.width:
        parts.append(f"{plan.width}x{plan.height} instead of {full.width}x{full.height} pixels")
    if plan.level:
        parts.append(_LEVEL_NAMES[suffix].format(_LEVELS[suffix][plan.level]))
    return ", ".join(parts)
