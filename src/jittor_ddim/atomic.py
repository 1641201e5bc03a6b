"""Writes that survive a kill or a full disk: a file is either complete or as it was before."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jittor_ddim.errors import MachineError, UserError

_REMEDIES = {
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some of your quota, then try again",
    errno.EROFS: "choose a writable folder",
    errno.EACCES: "choose a folder that you can write to",
    errno.EPERM: "choose a folder that you can write to",
}
#: What a wrong path causes, on a machine that works.
_WRONG_PATH = {
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing ``path`` into one line.

    :raises UserError: if the path itself is wrong, for instance a file where a folder must be
    :raises MachineError: if the disk is full, read-only or broken
    """
    try:
        yield
    except OSError as error:
        # The name in the error says more, for instance which parent is not a folder.
        name, reason = error.filename or path, error.strerror or type(error).__name__
        if error.errno in _WRONG_PATH:
            raise UserError(f"{name}: {reason.lower()}; choose another path") from error
        remedy = _REMEDIES.get(error.errno or 0, "check the disk")
        raise MachineError(f"{name}: {reason.lower()}; {remedy}") from error


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        sync_file(file)


def sync_file(file: BinaryIO) -> None:
    """Wait until the disk has what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, so that a rename survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to; it becomes ``path`` if the block succeeds, else it is removed.

    The temporary file is hidden, ends in ``.tmp`` and is in the same folder (created if missing),
    so a killed process leaves nothing that looks like a result.

    :param sync: wait until the disk has it: too slow for thousands of images, which can be made
        again
    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                if sync:
                    sync_file(file)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)


def write_atomic(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Create or replace a file all at once, and by default wait until the disk has it.

    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken; the old file is then untouched
    """
    with writing(path, sync=sync) as file:
        file.write(data)


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes ``path`` if the block succeeds, else it is removed.

    The block syncs the files in it; the folder itself is synced here.

    :raises UserError: if ``path`` exists or is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    if os.path.lexists(path):
        raise UserError(f"{path}: already exists; choose another name, or move it away")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            sync_folder(temporary)
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)
