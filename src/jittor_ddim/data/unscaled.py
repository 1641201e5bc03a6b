"""Images at their own size: what is evaluated, and what it is compared with.

A set has one size: nothing is cropped or scaled. Pixels become 8-bit ones as in training (see
:mod:`jittor_ddim.decoding`), and grey images RGB; both are counted.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.data.files import count_jpeg, list_files
from jittor_ddim.data.source import ImageArray, naming_damage
from jittor_ddim.decoding import RULES, eight_bits, open_image
from jittor_ddim.errors import DataError
from jittor_ddim.image_files import open_npz, show_size
from jittor_ddim.user_cache import expand_home

Pixels = NDArray[np.uint8]

_CHUNK = 1024  # images hashed at a time


@dataclass(frozen=True)
class UnscaledImages:
    """A set of images of one size.

    :ivar size: height and width
    :ivar load: the images of some rows, RGB (B, H, W, 3); several threads may call it
    :ivar fingerprint: a hash of the contents; it reads all of them
    :ivar ignored: how many files have no image extension
    :ivar left_out: which extensions these have, and why they are not images
    :ivar jpeg: how many are JPEG files, whose statistics differ from lossless images'
    :ivar remarks: anything else to report
    :ivar grey: the rows that were grey, of those loaded so far
    :ivar changes: by row, what was done to the image, of those loaded so far
    """

    name: str
    count: int
    size: tuple[int, int]
    load: Callable[[range], Pixels]
    fingerprint: Callable[[], str]
    ignored: int = 0
    left_out: str = ""
    jpeg: int = 0
    remarks: tuple[str, ...] = ()
    grey: set[int] = field(default_factory=set)
    changes: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def changed(self) -> dict[str, int]:
        """Return what was done to the images loaded so far, in words, and to how many."""
        return dict(Counter(what for done in self.changes.values() for what in done))

    def batches(self, batch_size: int) -> Iterator[Callable[[], Pixels]]:
        """Yield functions that load one batch each, so that threads can decode them."""
        for start in range(0, self.count, batch_size):
            rows = range(start, min(start + batch_size, self.count))
            yield lambda rows=rows: self.load(rows)


def from_arrays(
    arrays: Sequence[ImageArray], name: str, remarks: tuple[str, ...] = ()
) -> UnscaledImages:
    """Return arrays, memory maps or streams of images (N, H, W, 1 or 3) of one size as a set."""
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
    size = (height, width)
    return UnscaledImages(name, starts[-1], size, load, fingerprint, remarks=remarks, grey=grey)


def to_rgb(pixels: Pixels) -> Pixels:
    """Return grey images (B, H, W, 1) with three channels, and RGB ones unchanged."""
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


@contextmanager
def open_unscaled(path: Path, background: str = "white") -> Iterator[UnscaledImages]:
    """Open a folder, a zip or an ``.npz`` of images; numbered files come in numerical order.

    :param background: a colour for transparent pixels
    :raises DataError: if there are no images in it or the first cannot be used; later ones are
        refused when they are loaded
    """
    root = expand_home(path).resolve()
    if root.suffix == ".npz":
        yield from_arrays([open_npz(root)], str(path))
        return
    files = list_files(root)
    images, left_out = files.images()
    names = sorted(images, key=_numerically)
    grey: set[int] = set()
    changes: dict[int, tuple[str, ...]] = {}
    with files.open() as read:

        def load_one(row: int) -> Pixels:
            pixels, changed = _decode(read, names[row], path, background)
            if pixels.shape[2] == 1:
                grey.add(row)
            if changed:
                changes[row] = changed
            return to_rgb(pixels[None])[0]

        height, width = load_one(0).shape[:2]
        size = height, width
        grey.clear()
        changes.clear()

        def load(rows: range) -> Pixels:
            loaded = [load_one(row) for row in rows]
            for row, pixels in zip(rows, loaded, strict=True):
                if pixels.shape[:2] != size:
                    raise DataError(
                        f"{path}: {names[row]} is {show_size(pixels.shape[:2])}, but {names[0]} "
                        f"is {show_size(size)}; all images of a set must have one size"
                    )
            return np.stack(loaded)

        yield UnscaledImages(
            name=str(path),
            count=len(names),
            size=size,
            load=load,
            fingerprint=lambda: _hash_files(read, names, background),
            ignored=len(files.entries) - len(names),
            left_out=left_out,
            jpeg=count_jpeg(names),
            grey=grey,
            changes=changes,
        )


def _decode(
    read: Callable[[str], bytes], name: str, path: Path, background: str
) -> tuple[Pixels, tuple[str, ...]]:
    with naming_damage(f"{path}: cannot decode {name}"), open_image(read(name)) as image:
        decoded = eight_bits(image, background)
    pixels = np.asarray(decoded.image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels, decoded.changes


def _hash_files(read: Callable[[str], bytes], names: Sequence[str], background: str) -> str:
    """Hash the files' bytes in order, and how they are decoded; not their names."""
    digest = hashlib.sha256(repr((RULES, background)).encode())
    for name in names:
        with naming_damage(f"cannot read {name}"):
            content = read(name)
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def _numerically(name: str) -> list[str | int]:
    """A key by which 2.png comes before 10.png: text and numbers alternate."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]
