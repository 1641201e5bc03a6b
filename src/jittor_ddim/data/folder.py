"""Any folder or zip of images, nested at any depth."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import DataConfig
from jittor_ddim.data.classes import find_labels
from jittor_ddim.data.files import Files, images_at, list_files
from jittor_ddim.data.source import (
    Opened,
    Source,
    Split,
    decode,
    fingerprint,
    hold_out,
    naming_damage,
)
from jittor_ddim.decoding import open_image
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home

#: The part of a data set that the usual names of folders mean, in lower case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
}


def folder_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return the images below ``data.root``, a folder or a zip, ordered by name.

    Folders at the top (or inside the only folder there) with the usual names, in any case, are
    the splits: `train` is trained on; `test` or, if there is none, `val` is held out. Images
    outside them are not used. Without such folders 5 % of the images are held out. Classes are
    found by :func:`jittor_ddim.data.classes.find_labels`. Files without an image extension are
    counted, except hidden ones and those in __MACOSX.

    :param exp: not used
    :raises DataError: if there is no such folder, or too few images in it
    """
    if data.root is None:
        raise DataError("data.root: FOLDER needs it; set it to a folder or a zip of images")
    root = expand_home(data.root).resolve()
    files = list_files(root)
    images, others = files.images()
    parts = _parts_of(images)
    found = set(parts.values())
    split_here = "train" in found and not found.isdisjoint(("test", "val"))
    warnings = [f"{root}: not used: {others}"] if others else []
    if split_here:
        held_out = "test" if "test" in parts.values() else "val"
        part = "train" if split == "train" else held_out
        keys = [name for name in images if parts[name] == part]
        unused, remark = _describe(parts, held_out)
        warnings += [f"{root}: not used: {unused}"] if unused else []
        used = [name for name in images if parts[name] in ("train", held_out)]
    else:
        hold_out(len(images), split, str(root))  # raises if there is only one
        keys = used = images
        remark = "no folders train and test (or val) at the top, so 5 % of the images are held out"
    return Source(
        name=f"images of {root} ({split})" if split_here else f"images of {root}",
        fingerprint=fingerprint([(key, files.entries[key].stamp) for key in keys]),
        open=lambda: open_files(files, keys),
        find_labels=lambda: find_labels(files, used, split_here),
        both_splits=not split_here,
        ignored=len(files.entries) - len(images),
        warnings=tuple(warnings),
        remarks=(f"{root}: {remark}",),
    )


@contextmanager
def open_files(files: Files, keys: list[str]) -> Iterator[Opened]:
    """Open the named images of a folder or zip for decoding."""
    with files.open() as read:
        yield keys, lambda key: open_image(read(key))


def _parts_of(images: list[str]) -> dict[str, str | None]:
    """Map every image to the part whose folder it is in, or to None."""
    wrapper = os.path.commonpath([os.path.dirname(name) for name in images])
    prefix = f"{wrapper}/" if wrapper else ""
    tops = {name: name.removeprefix(prefix).partition("/") for name in images}
    return {
        name: PARTS.get(top.lower()) if inside else None for name, (top, inside, _) in tops.items()
    }


def _describe(parts: dict[str, str | None], held_out: str) -> tuple[str, str]:
    """What is not used, and one line on what is trained on and held out."""
    counts = Counter(parts.values())
    unused = [f"{counts[None]} images outside the folders of its splits"] if counts[None] else []
    if held_out == "test" and counts["val"]:
        unused.append(f"{counts['val']} images of val, because there is a test folder")
    without = " (there is no test folder)" if held_out == "val" else ""
    return " and ".join(unused), (
        f"training on the {counts['train']} images of train, holding out the {counts[held_out]} "
        f"of {held_out}{without}"
    )


def read_images(
    path: Path, data: DataConfig, limit: int
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Return one image file, or the first ``limit`` below a folder or zip, whatever their split.

    :returns: uint8 (N, image_size, image_size, channels), N >= 1; what was done to how many
    :raises DataError: if there are none, or naming one that cannot be decoded
    """
    files, images = images_at(expand_home(path).resolve())
    decoded = []
    changes: Counter[str] = Counter()
    with open_files(files, images[:limit]) as (keys, read):
        for key in keys:
            with naming_damage(f"{files.root}: cannot decode {key}"):
                pixels, changed = decode(
                    read(key), data.image_size, data.channels, data.background
                )
            decoded.append(pixels)
            changes.update(changed)
    return np.stack(decoded), dict(changes)
