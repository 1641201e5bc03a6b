"""What becomes of every image of a source: a class, a reason why it cannot be decoded, a split.

A record of it is kept beside the decoded images, or without them where images are streamed.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Opened, Source, decode, hold_out
from jittor_ddim.decoding import eight_bits
from jittor_ddim.errors import DataError, why

#: Called with (images done, images in total) while a source is decoded.
Progress = Callable[[int, int], None]

_CHUNK = 256  # images in memory at a time
_THREADS = min(16, os.cpu_count() or 1)


class _Decoded(NamedTuple):
    """An image that can be decoded: pixels, if they are wanted, and what the file holds."""

    pixels: NDArray[np.uint8] | None
    changes: tuple[str, ...]
    mode: str
    size: tuple[int, int]


class Record(BaseModel):
    """What happened to a source's images; of both splits, the held-out ones are the last."""

    source: str
    held_out: int = 0  # how many images at the end are held out, if the source has both splits
    labels: list[int] = []
    skipped: dict[str, str] = {}  # why the images of these names cannot be decoded
    changes: dict[str, int] = {}  # what was done to images, in words, and to how many
    modes: dict[str, int] = {}  # Pillow's names of the files' kinds of pixels, and how many files
    smallest: tuple[int, int] | None = None  # width and height of the file with the fewest pixels
    largest: tuple[int, int] | None = None
    sha256: str = ""  # of the cache's file


def survey(
    source: Source,
    opened: Opened,
    data: DataConfig,
    progress: Progress | None,
    keep: Callable[[NDArray[np.uint8]], object] | None,
) -> Record:
    """Decode all images of a source and return what became of them.

    :param keep: takes the pixels (H, W, C) of each that can be decoded, in the order of the keys;
        None: pixels are not wanted, so JPEG is decoded at an eighth of its size, which finds the
        same damage
    :raises DataError: if too few images can be decoded
    """
    keys, _ = opened
    skipped: dict[str, str] = {}
    changes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    sizes: set[tuple[int, int]] = set()
    labels: list[int] = []
    for key, result in _decoded(source, opened, data, progress, keep is None):
        if isinstance(result, str):
            skipped[key] = result
            continue
        if keep and result.pixels is not None:
            keep(result.pixels)
        changes.update(result.changes)
        modes[result.mode] += 1
        sizes.add(result.size)
        labels += [source.label(key)] if source.label else []
    decoded = len(keys) - len(skipped)
    _check_enough(source, len(keys), decoded, skipped)
    last = held_out(source, decoded)
    if labels:
        labels = np.array(labels)[held_out_last(source, decoded)].tolist()
    return Record(
        source=source.name,
        held_out=len(last),
        labels=labels,
        skipped=skipped,
        changes=changes,
        modes=modes,
        smallest=min(sizes, key=math.prod),
        largest=max(sizes, key=math.prod),
    )


def held_out(source: Source, count: int) -> NDArray[np.int64]:
    """Return which of a source's decodable images are to be held out, ascending."""
    nothing = np.empty(0, np.int64)
    return hold_out(count, "test", source.name) if source.both_splits else nothing


def held_out_last(source: Source, count: int) -> NDArray[np.int64]:
    """Return the numbers of a source's decodable images, those to be held out at the end."""
    last = held_out(source, count)
    return np.concatenate([np.delete(np.arange(count), last), last])


def _check_enough(source: Source, count: int, decoded: int, skipped: dict[str, str]) -> None:
    if decoded >= (2 if source.both_splits else 1):
        return
    found = f"only {decoded}" if decoded else "none"
    example = "".join(f"; {key}: {reason}" for key, reason in list(skipped.items())[:1])
    needed = ", but at least 2 are needed (one is held out)" if source.both_splits else ""
    raise DataError(f"{source.name}: {found} of {count} images can be decoded{needed}{example}")


def _decoded(
    source: Source, opened: Opened, data: DataConfig, progress: Progress | None, look_only: bool
) -> Iterator[tuple[str, _Decoded | str]]:
    """Yield (key, pixels and changes, or why it cannot be decoded) in the order of the keys."""
    keys, read = opened

    def result(key: str) -> _Decoded | str:
        try:
            image = read(key)
            mode, size = image.mode, image.size
            if look_only:
                image.draft(None, (1, 1))  # type: ignore[arg-type]  # None keeps the mode
                return _Decoded(None, eight_bits(image, data.background).changes, mode, size)
            pixels, changes = decode(
                image, data.image_size, data.channels, data.background, source.crop
            )
            return _Decoded(pixels, changes, mode, size)
        except DataError:
            raise
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
            return why(error)

    with ThreadPoolExecutor(_THREADS, "decode") as pool:
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            yield from zip(chunk, pool.map(result, chunk), strict=True)
            if progress:
                progress(start + len(chunk), len(keys))
