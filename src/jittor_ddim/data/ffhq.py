"""FFHQ in the layouts it is kept in: an LMDB, NVIDIA's folders of a thousand images, a zip."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jittor_ddim.config import DataConfig
from jittor_ddim.data.files import list_files
from jittor_ddim.data.folder import open_files
from jittor_ddim.data.lmdb import first_lmdb, lmdb_source
from jittor_ddim.data.source import Source, Split, fingerprint
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home

_COUNT = 70_000  # images
_UNCROPPED = "in-the-wild-images"
_SPLIT_SEED = 2019  # the official code's


def ffhq_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return FFHQ at the configured size, split 90 to 10 by its numbers as the official code does.

    An LMDB has the keys ``length`` and ``SIZE-00000``, …; a folder or zip has images named by
    their numbers, at any depth. Of several folders such as ``images1024x1024`` and
    ``thumbnails128x128`` the smallest that is large enough is used.

    :raises DataError: if it is neither at data.root nor, without it, at exp/datasets/FFHQ
    """
    given = expand_home(data.root) if data.root else exp / "datasets" / "FFHQ"
    if place := first_lmdb([given]):
        return lmdb_source("FFHQ", place, split, lambda of: _keys(of, data.image_size, split))
    if not given.exists():
        raise DataError(
            f"{given}: FFHQ needs there an LMDB with the keys 'length' and 'SIZE-00000', …, or "
            "the folders or zip of https://github.com/NVlabs/ffhq-dataset"
        )
    root = given.resolve()
    files = list_files(root)
    images: dict[int, str] = {}
    for name in _of_one_size(files.images()[0], data.image_size):
        digits = re.search(r"\d+$", PurePosixPath(name).stem)
        if digits is None or int(digits[0]) >= _COUNT:
            raise DataError(
                f"{root}: {name} is not named by a number below {_COUNT}, which tells its split; "
                "data.dataset: FOLDER reads images of any name"
            )
        if (other := images.setdefault(int(digits[0]), name)) != name:
            raise DataError(f"{root}: {other} and {name} have one number; keep one of them")
    # Of all numbers, also where images are missing: the others stay in their splits.
    keys = [images[number] for number in _numbers(_COUNT, split) if number in images]
    if not keys:
        raise DataError(
            f"{root}: none of its {len(images)} images is of the {split} split "
            f"({_UNCROPPED} are not used)"
        )
    return Source(
        name=f"FFHQ of {root} ({split})",
        fingerprint=fingerprint([(key, files.entries[key].stamp) for key in keys]),
        open=lambda: open_files(files, keys),
    )


def _of_one_size(names: Iterable[str], image_size: int) -> list[str]:
    """The images, or of several folders for sizes those of the most suitable one."""
    by_size: dict[int, list[str]] = {}
    for name in names:
        folder = re.search(r"(?:images|thumbnails)(\d+)x\1/", name)
        if _UNCROPPED not in name.split("/"):
            by_size.setdefault(int(folder[1]) if folder else 0, []).append(name)
    sizes = sorted(size for size in by_size if size)
    enough = [size for size in sizes if size >= image_size]
    return by_size.get((enough or sizes[-1:] or [0])[0], [])


def _keys(transaction: Any, image_size: int, split: Split) -> list[str]:
    text = transaction.get(b"length", b"0")
    if not text.isdigit():
        raise DataError("FFHQ: the LMDB's key 'length' is not a number; create the LMDB again")
    return [f"{image_size}-{number:05d}" for number in _numbers(int(text), split)]


def _numbers(length: int, split: Split) -> list[int]:
    """The numbers, ascending, of the images of a split."""
    order = list(range(length))
    np.random.RandomState(_SPLIT_SEED).shuffle(order)
    cut = int(length * 0.9)
    return sorted(order[:cut] if split == "train" else order[cut:])
