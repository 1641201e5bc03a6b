"""Images as one array in an ``.npz``: the sets that ADM and others publish and evaluate."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.shards import Shards, find_shards
from jittor_ddim.data.source import (
    LARGEST_CLASS,
    Labels,
    NoClassesError,
    Opened,
    Source,
    Split,
    is_class,
)
from jittor_ddim.errors import DataError, why
from jittor_ddim.image_files import open_npz

_LABELS = ("arr_1", "labels")  # NumPy's name for a second array without one
_DAMAGED = (zipfile.BadZipFile, zlib.error)


def npz_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return the images of one or many ``.npz`` files.

    They are in ``arr_0`` or ``images``, uint8 (N, H, W, 1 or 3). Classes are in ``arr_1``
    or ``labels``, whole numbers (N,).

    :param exp: not used
    :raises DataError: if there are none
    """
    return find_shards(data, split, ".npz").source("npz", split, _open, _find_labels)


@contextmanager
def _open(shards: Shards) -> Iterator[Opened]:
    arrays = {name: open_npz(path) for name, path in shards.paths.items()}

    def read(key: str) -> Image.Image:
        name, _, row = key.rpartition("/")
        pixels = np.ascontiguousarray(arrays[name][int(row)])
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    yield [f"{name}/{row}" for name, array in arrays.items() for row in range(len(array))], read


def _find_labels(shards: Shards) -> Labels:
    by_name: dict[str, int] = {}
    for name, path in shards.used.items():
        count, labels = len(open_npz(path)), _read_labels(path)
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: its classes are {labels.dtype} {labels.shape}, not {count} whole "
                "numbers; save one for each image"
            )
        numbers = labels.tolist()
        if wrong := [label for label in numbers if not is_class(label)]:
            raise DataError(
                f"{path}: one has the class {wrong[0]}, not a number from 0 to {LARGEST_CLASS}; "
                "correct it, or leave the file out"
            )
        by_name |= {f"{name}/{row}": label for row, label in enumerate(numbers)}
    count = len(set(by_name.values()))
    return Labels(by_name, None, f"{shards.root}: {count} classes, by arr_1 or labels")


def _read_labels(path: Path) -> NDArray[np.generic]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = [name for name in _LABELS if name in arrays]
            if found:
                return arrays[found[0]]
    except (OSError, ValueError, EOFError, RuntimeError, *_DAMAGED) as error:
        raise DataError(f"{path}: its classes cannot be read ({why(error)})") from None
    raise NoClassesError(
        f"{path}: no array arr_1 (or labels) with the classes; save it, or leave "
        "model.num_classes out"
    )
