"""Images decoded once into a memory-mapped file that is rebuilt when its source changes.

A cache is two files: NAME.npy, uint8 (N, H, W, C), and NAME.json, written last, which makes it
valid. NAME identifies the shape and the source, then the source's fingerprint and how it is
decoded. If a source has both splits, the held-out images are at the end.
"""

import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from jittor_ddim.atomic import disk_errors, sync_file, write_atomic
from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Source, decode, fingerprint, hold_out
from jittor_ddim.decoding import RULES, rgb
from jittor_ddim.errors import DataError, MachineError, why
from jittor_ddim.user_cache import user_cache

#: Called with (images done, images in total) while a source is decoded.
Progress = Callable[[int, int], None]
_Result = tuple[NDArray[np.uint8], tuple[str, ...]] | str

_CHUNK = 256  # images in memory at a time
_THREADS = min(16, os.cpu_count() or 1)
_log = logging.getLogger(__name__)


def cache_folder(exp: Path) -> Path:
    """Return where caches are: $JITTOR_DDIM_CACHE, or datasets/.cache in the experiment root."""
    return user_cache(exp / "datasets" / ".cache")


class Record(BaseModel):
    """What happened to a source's images: NAME.json."""

    source: str
    held_out: int = 0  # how many images at the end are held out, if the source has both splits
    labels: list[int] = []
    skipped: dict[str, str] = {}  # why the images of these names cannot be decoded
    changes: dict[str, int] = {}  # what was done to images, in words, and to how many


def open_cached(
    source: Source, data: DataConfig, exp: Path, progress: Progress | None = None
) -> tuple[NDArray[np.uint8], Record]:
    """Return a source's images as a read-only memory map, decoding them if needed.

    If several processes want the same cache, one builds it and the others wait.

    :returns: uint8 (N, image_size, image_size, channels), and what happened to the images
    :raises DataError: if no image can be decoded
    :raises UserError: if the cache's folder cannot be created, for instance if it is a file
    :raises MachineError: if the disk is full, read-only or broken
    """
    folder = cache_folder(exp)
    shape = f"{data.image_size}x{data.image_size}x{data.channels}"
    family = f"{shape}-{fingerprint(source.name)[:12]}"
    rules = (RULES, source.crop, source.both_splits, rgb(data.background))
    how = fingerprint(source.fingerprint, rules + ("labels",) * bool(source.label))
    path = folder / f"{family}-{how[:16]}.npy"
    if opened := _open(path):
        return opened
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{family}.lock"):
            if opened := _open(path):  # another process was first
                return opened
            record = _build(source, path, data, progress)
            for old in folder.glob(f"{family}-*"):
                if old.stem != path.stem:
                    old.unlink(missing_ok=True)
            write_atomic(path.with_suffix(".json"), record.model_dump_json().encode())
    opened = _open(path)
    if opened is None:
        raise MachineError(f"{path}: the image cache cannot be read back; check the disk")
    return opened


def _open(path: Path) -> tuple[NDArray[np.uint8], Record] | None:
    """The cache, or None if there is none or it is damaged."""
    try:
        record = Record.model_validate_json(path.with_suffix(".json").read_bytes())
        return np.load(path, mmap_mode="r"), record
    except (OSError, ValueError):
        return None


def _build(source: Source, path: Path, data: DataConfig, progress: Progress | None) -> Record:
    """Decode into path; return what became of the images.

    The rows are written, not stored through a memory map: on a full disk a write fails with an
    error, a store kills the process.
    """
    temporary = path.with_suffix(".tmp")
    shape = (data.image_size, data.image_size, data.channels)
    skipped: dict[str, str] = {}
    changes: Counter[str] = Counter()
    labels: list[int] = []
    held_out: list[int] = []
    try:
        with source.open() as (keys, read), temporary.open("w+b") as file:
            _check_space(path.parent, len(keys) * math.prod(shape))
            _write_header(file, (len(keys), *shape))
            data_start = file.tell()
            for key, result in _decoded(source, keys, read, data, progress):
                if isinstance(result, str):
                    skipped[key] = result
                    continue
                pixels, changed = result
                file.write(pixels.tobytes())
                changes.update(changed)
                labels += [source.label(key)] if source.label else []
            decoded = len(keys) - len(skipped)
            _check_enough(source, len(keys), decoded, skipped)
            if source.both_splits:
                held_out = hold_out(decoded, "test", source.name).tolist()
                _move_to_end(file, data_start, math.prod(shape), held_out, decoded)
                if labels:
                    held = [labels[row] for row in held_out]
                    labels = np.delete(labels, held_out).tolist() + held
            file.seek(0)
            _write_header(file, (decoded, *shape))
            assert file.tell() == data_start  # numpy pads the header so that N can be rewritten
            sync_file(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _log.info("%s: decoded %d images into %s", source.name, decoded, path)
    return Record(
        source=source.name,
        held_out=len(held_out),
        labels=labels,
        skipped=skipped,
        changes=changes,
    )


def _check_enough(source: Source, count: int, decoded: int, skipped: dict[str, str]) -> None:
    if decoded >= (2 if source.both_splits else 1):
        return
    found = f"only {decoded}" if decoded else "none"
    example = "".join(f"; {key}: {reason}" for key, reason in list(skipped.items())[:1])
    needed = ", but at least 2 are needed (one is held out)" if source.both_splits else ""
    raise DataError(f"{source.name}: {found} of {count} images can be decoded{needed}{example}")


def _decoded(
    source: Source,
    keys: Sequence[str],
    read: Callable[[str], Image.Image],
    data: DataConfig,
    progress: Progress | None,
) -> Iterator[tuple[str, _Result]]:
    """Yield (key, pixels and changes, or why it cannot be decoded) in the order of the keys."""

    def pixels(key: str) -> _Result:
        try:
            image = read(key)
            return decode(image, data.image_size, data.channels, data.background, source.crop)
        except DataError:
            raise
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
            return why(error)

    with ThreadPoolExecutor(_THREADS, "decode") as pool:
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            yield from zip(chunk, pool.map(pixels, chunk), strict=True)
            if progress:
                progress(start + len(chunk), len(keys))


def _move_to_end(file: BinaryIO, start: int, size: int, rows: Sequence[int], count: int) -> None:
    """Reorder a file's rows of a size: these, ascending, after all others."""

    def copy(row: int, to: int) -> None:
        file.seek(start + row * size)
        content = file.read(size)
        file.seek(start + to * size)
        file.write(content)

    moved, end = set(rows), count + len(rows)
    for to, row in enumerate(rows, count):  # copies at the end, so that nothing is overwritten
        copy(row, to)
    for to, row in enumerate(row for row in range(end) if row not in moved):
        if to != row:
            copy(row, to)
    file.truncate(start + count * size)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{folder}: the decoded images need {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB "
            "are free; set JITTOR_DDIM_CACHE to a folder with more space"
        )
