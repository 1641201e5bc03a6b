"""Images decoded once into a memory-mapped file that is rebuilt when its source changes.

A cache is two files: NAME.npy, uint8 (N, H, W, C), and NAME.json, written last, which makes it
valid. NAME names the source and the shape, then the source's fingerprint.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.data.source import Source, decode, fingerprint
from jittor_ddim.errors import DataError, MachineError

#: Called with (images done, images in all) while a source is decoded.
Progress = Callable[[int, int], None]

_CHUNK = 256  # images in memory at a time
_THREADS = min(16, os.cpu_count() or 1)
_log = logging.getLogger(__name__)


def cache_folder(exp: Path) -> Path:
    """Return where caches live: $JITTOR_DDIM_CACHE, or datasets/.cache of the experiment root."""
    return Path(os.environ.get("JITTOR_DDIM_CACHE") or exp / "datasets" / ".cache")


def open_cached(
    source: Source,
    image_size: int,
    channels: int,
    exp: Path,
    progress: Progress | None = None,
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return a source's images as a read-only memory map, decoding them if need be.

    Processes that want the same cache at once wait for the first to build it.

    :returns: uint8 (N, image_size, image_size, channels), and the names of what is no image
    :raises DataError: if no image can be decoded
    :raises UserError: if the cache's folder cannot exist, for instance because a file is there
    :raises MachineError: if the disk is full, read-only or broken
    """
    folder = cache_folder(exp)
    shape = f"{image_size}x{image_size}x{channels}"
    family = f"{shape}-{fingerprint(source.name)[:12]}"
    path = folder / f"{family}-{fingerprint(source.fingerprint)[:16]}.npy"
    if opened := _open(path):
        return opened
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{family}.lock"):
            if opened := _open(path):  # another process was first
                return opened
            skipped = _build(source, path, (image_size, image_size, channels), progress)
            for old in folder.glob(f"{family}-*"):
                if old.stem != path.stem:
                    old.unlink(missing_ok=True)
            record = json.dumps({"source": source.name, "skipped": skipped})
            write_atomic(path.with_suffix(".json"), record.encode())
    opened = _open(path)
    if opened is None:
        raise MachineError(f"{path}: the image cache was written but cannot be read back")
    return opened


def _open(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]] | None:
    """The cache, or None where there is none or it is damaged."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return np.load(path, mmap_mode="r"), tuple(record["skipped"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(
    source: Source, path: Path, shape: tuple[int, int, int], progress: Progress | None
) -> list[str]:
    """Decode into path; return the names of what is no image.

    The rows are written, not stored through a memory map: on a full disk a write fails with an
    error, a store kills the process.
    """
    temporary = path.with_suffix(".tmp")
    skipped: list[str] = []
    try:
        with source.open() as (keys, read), temporary.open("wb") as file:
            _check_space(path.parent, len(keys) * int(np.prod(shape)))
            _write_header(file, (len(keys), *shape))
            data_start = file.tell()
            for key, image in _decoded(keys, read, shape, progress):
                if image is None:
                    skipped.append(key)
                else:
                    file.write(image.tobytes())
            decoded = len(keys) - len(skipped)
            if decoded == 0:
                first = f", for instance {keys[0]}" if keys else ""
                raise DataError(f"{source.name}: none of {len(keys)} images can be decoded{first}")
            file.seek(0)
            _write_header(file, (decoded, *shape))
            assert file.tell() == data_start  # numpy pads the header so that N can be rewritten
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _log.info("%s: decoded %d images into %s", source.name, decoded, path)
    return skipped


def _decoded(
    keys: Sequence[str],
    read: Callable[[str], Image.Image],
    shape: tuple[int, int, int],
    progress: Progress | None,
) -> Iterator[tuple[str, NDArray[np.uint8] | None]]:
    """Yield (key, pixels, or None for what is no image) in the order of the keys."""

    def pixels(key: str) -> NDArray[np.uint8] | None:
        try:
            return decode(read(key), shape[0], shape[2])
        except DataError:
            raise
        except Exception:  # damaged bytes make Pillow's readers raise nearly anything
            return None

    with ThreadPoolExecutor(_THREADS, "decode") as pool:
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            yield from zip(chunk, pool.map(pixels, chunk), strict=True)
            if progress:
                progress(start + len(chunk), len(keys))


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{folder}: the decoded images need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; set JITTOR_DDIM_CACHE to a folder with more space"
        )
