"""What the images of a set are like: mean and deviation, which are equal, some to look at."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.data.source import ImageArray

_CHUNK = 64  # images in memory at a time, for each thread
_THREADS = 4


@dataclass(frozen=True)
class Inspection:
    """Of the decoded images of one split, as they are trained on.

    :ivar mean: of each channel, in [0, 1]
    :ivar deviation: of each channel's values, likewise
    :ivar digests: of each image's pixels
    """

    mean: list[float]
    deviation: list[float]
    digests: list[bytes]

    def repeated(self) -> dict[int, int]:
        """Return the rows whose pixels an earlier row has, and which row that is."""
        first: dict[bytes, int] = {}
        found = {}
        for row, digest in enumerate(self.digests):
            if first.setdefault(digest, row) != row:
                found[row] = first[digest]
        return found

    def also_in(self, other: "Inspection") -> dict[int, int]:
        """Return the rows whose pixels another set has too, and a row there."""
        rows = {digest: row for row, digest in enumerate(other.digests)}
        return {row: rows[digest] for row, digest in enumerate(self.digests) if digest in rows}


def inspect(images: ImageArray, advance: Callable[[int], None]) -> Inspection:
    """Look at every image.

    :param images: uint8 (N, H, W, C), N >= 1
    :param advance: called with how many more are done
    """
    total = np.zeros((2, images.shape[3]))
    digests = []
    for pixels in _chunks(images):
        values = pixels.astype(np.int64)
        total += values.sum((0, 1, 2)), np.square(values).sum((0, 1, 2))
        digests += [hashlib.sha256(image.tobytes()).digest()[:16] for image in pixels]
        advance(len(pixels))
    mean, square = total / np.prod(images.shape[:3])
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return Inspection((mean / 255).tolist(), (deviation / 255).tolist(), digests)


def spread(images: ImageArray, count: int) -> NDArray[np.uint8]:
    """Return at most so many images, from the first on, evenly spaced."""
    number = min(count, len(images))
    return images[np.arange(number) * len(images) // number]


def _chunks(images: ImageArray) -> Iterator[NDArray[np.uint8]]:
    """The images in order, decoded by threads where they are streamed."""
    rows = (slice(start, start + _CHUNK) for start in range(0, len(images), _CHUNK))
    with ThreadPoolExecutor(_THREADS, "inspect") as pool:
        while ahead := list(islice(rows, _THREADS)):
            yield from pool.map(images.__getitem__, ahead)
