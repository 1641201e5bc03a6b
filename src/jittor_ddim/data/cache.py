"""Images decoded once into a memory-mapped file that is rebuilt when its source changes.

A cache is two files: NAME.npy, uint8 (N, H, W, C), and NAME.json, written last, which makes it
valid. NAME identifies the shape and the source, then the source's fingerprint and how it is
decoded. If a source has both splits, the held-out images are at the end. Of images that are
streamed there is NAME.json alone.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.atomic import disk_errors, sync_file, write_atomic
from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import ImageArray, Opened, Source, fingerprint
from jittor_ddim.data.stream import decoded_bytes, is_streamed, open_streamed
from jittor_ddim.data.survey import Progress, Record, held_out, held_out_last, survey
from jittor_ddim.decoding import RULES, rgb
from jittor_ddim.downloads import hash_of
from jittor_ddim.errors import DataError, MachineError
from jittor_ddim.user_cache import user_cache

_log = logging.getLogger(__name__)


def cache_folder(exp: Path) -> Path:
    """Return where caches are: $JITTOR_DDIM_CACHE, or datasets/.cache in the experiment root."""
    return user_cache(exp / "datasets" / ".cache")


def open_decoded(
    source: Source, data: DataConfig, exp: Path, progress: Progress | None = None
) -> tuple[ImageArray, Record]:
    """Return a source's images as a read-only memory map or, by ``data.stream``, as a stream.

    The images are decoded first if they are not in the cache; if they are streamed, once to see
    which can be. If several processes want the same images, one does so and the others wait.

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
    if data.stream is not True and (cached := _open(path)):
        return cached
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{family}.lock"), ExitStack() as stack:
            if data.stream is not True and (cached := _open(path)):  # another process was first
                return cached
            opened = stack.enter_context(source.open())
            if is_streamed(data, len(opened[0])):
                record = _read(path) or _keep(
                    survey(source, opened, data, progress, None), path, family
                )
                _log.info("%s: decoded whenever they are needed (data.stream)", source.name)
                return open_streamed(source, data, opened, stack.pop_all(), record), record
            _keep(_build(source, opened, path, data, progress), path, family)
    cached = _open(path)
    if cached is None:
        raise MachineError(f"{path}: the image cache cannot be read back; check the disk")
    return cached


def cached_source(path: Path) -> Source:
    """Return the images of a cache in the order they had before some were held out.

    :param path: NAME.npy, as ``ImageSet.cache`` tells it
    :raises DataError: if it is none, or damaged
    """
    cached = _open(path)
    if cached is None:
        raise DataError(f"{path}: no cache of decoded images, which has a .json of its name")
    check_cache(path)
    images, record = cached
    labels = record.labels

    @contextmanager
    def open() -> Iterator[Opened]:
        def read(key: str) -> Image.Image:
            pixels = images[int(key)]
            return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

        yield [str(row) for row in rows], read

    label = (lambda key: labels[int(key)]) if labels else None
    source = Source(record.source, "", open, label=label, both_splits=record.held_out > 0)
    rows = np.argsort(held_out_last(source, len(images))).tolist()
    return source


def check_cache(path: Path) -> None:
    """Compare a cache's file with the hash in its record; files of older versions have none.

    :param path: NAME.npy, as ``ImageSet.cache`` tells it
    :raises DataError: if they differ
    """
    record = _read(path)
    if record and record.sha256 and (found := hash_of(path, "sha256")) != record.sha256:
        raise DataError(
            f"{path}: its sha256 is {found}, not {record.sha256}: it was damaged; delete it, and "
            "the images are decoded again"
        )


def _keep(record: Record, path: Path, family: str) -> Record:
    """Write a record, and delete what was kept of the source before it changed."""
    for old in path.parent.glob(f"{family}-*"):
        if old.stem != path.stem:
            old.unlink(missing_ok=True)
    write_atomic(path.with_suffix(".json"), record.model_dump_json().encode())
    return record


def _read(path: Path) -> Record | None:
    """The record of a cache's images, or None if there is none or it is damaged."""
    try:
        return Record.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return None


def _open(path: Path) -> tuple[NDArray[np.uint8], Record] | None:
    """The cache, or None if there is none or it is damaged."""
    try:
        record = _read(path)
        return record and (np.load(path, mmap_mode="r"), record)
    except (OSError, ValueError):
        return None


def _build(
    source: Source, opened: Opened, path: Path, data: DataConfig, progress: Progress | None
) -> Record:
    """Decode into path; return what became of the images.

    The rows are written, not stored through a memory map: on a full disk a write fails with an
    error, a store kills the process.
    """
    temporary = path.with_suffix(".tmp")
    keys, _ = opened
    shape = (data.image_size, data.image_size, data.channels)
    _check_space(path.parent, decoded_bytes(data, len(keys)))
    try:
        with temporary.open("w+b") as file:
            _write_header(file, (len(keys), *shape))
            start = file.tell()
            record = survey(
                source, opened, data, progress, lambda pixels: file.write(pixels.tobytes())
            )
            decoded = len(keys) - len(record.skipped)
            if source.both_splits:
                last = held_out(source, decoded).tolist()
                _move_to_end(file, start, decoded_bytes(data, 1), last, decoded)
            file.seek(0)
            _write_header(file, (decoded, *shape))
            assert file.tell() == start  # numpy pads the header so that N can be rewritten
            sync_file(file)
        record = record.model_copy(update={"sha256": hash_of(temporary, "sha256")})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _log.info("%s: decoded %d images into %s", source.name, decoded, path)
    return record


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
            "are free; set data.stream to true, or JITTOR_DDIM_CACHE to a folder with more space"
        )
