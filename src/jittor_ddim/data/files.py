"""The files of a folder or a zip, by the names they mean, and their contents."""

import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.data.endings import explain, is_image, sort_out
from jittor_ddim.errors import DataError
from jittor_ddim.image_files import unreadable

#: What systems leave beside people's files, in lower case.
_SYSTEM = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir"))
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One file.

    :ivar stored: its name as the folder or the zip has it
    :ivar stamp: numbers that change when it does
    :ivar problem: why it cannot be read, if it is known
    """

    stored: str
    stamp: tuple[int, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Files:
    """The visible files of a folder or zip.

    :ivar entries: by name, with / between folders, sorted
    """

    root: Path
    entries: dict[str, Entry]

    def images(self) -> tuple[list[str], list[str]]:
        """Return the names of images, in order, and the others.

        :raises DataError: if there are no images, or Python cannot read one's compression
        """
        images, others = sort_out(self.entries)
        if not images:
            found = f"only {explain(others)}" if others else "it is empty"
            raise DataError(f"{self.root}: no images in it; {found}")
        bad = [name for name in images if self.entries[name].problem]
        if bad:
            raise DataError(
                f"{self.root}: {bad[0]} {self.entries[bad[0]].problem} ({len(bad)} of "
                f"{len(images)} images)"
            )
        return images, others

    @contextmanager
    def open(self) -> Iterator[Callable[[str], bytes]]:
        """Yield what reads a file by its name; threads may call it at once.

        It raises DataError for what is the disk's fault or the user's, and anything for a
        damaged entry of a zip.
        """

        def reading(read_stored: Callable[[str], bytes]) -> Callable[[str], bytes]:
            def read(name: str) -> bytes:
                try:
                    return read_stored(self.entries[name].stored)
                except OSError as error:
                    reason = error.strerror or error
                    raise DataError(f"{self.root}: cannot read {name} ({reason})") from None

            return read

        if self.root.is_dir():
            yield reading(lambda stored: (self.root / stored).read_bytes())
        else:
            with zipfile.ZipFile(self.root) as archive:
                yield reading(archive.read)


def list_files(root: Path) -> Files:
    """List a folder, in any nesting, or a zip.

    A backslash in a name separates folders: Windows PowerShell 5 packs such, and unpacking
    elsewhere leaves them.

    :raises DataError: if it is neither, or cannot be read
    """
    try:
        found = list(_in_folder(root) if root.is_dir() else _in_zip(root))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file or folder") from None
    except zipfile.BadZipFile:
        with root.open("rb") as file:
            if file.read(4) == b"PK\3\4":
                raise DataError(f"{root}: a damaged or cut zip; get it anew") from None
        raise DataError(
            f"{root}: neither a folder nor a zip file; name the folder of an image, and unpack "
            "any other archive"
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from None
    entries: dict[str, Entry] = {}
    twice: set[str] = set()
    for entry in found:
        parts = _parts(entry.stored)
        if _visible(parts):
            name = "/".join(parts)
            if name in entries:
                twice.add(name)
            entries[name] = entry  # as unpacking would: the last one stays
    if twice:
        _log.warning(
            "%s: several files are called %s (%d such names); the last of each is taken",
            root,
            min(twice),
            len(twice),
        )
    return Files(root, dict(sorted(entries.items())))


def images_at(path: Path) -> tuple[Files, list[str]]:
    """Return one image file, or the images of a folder or zip, by name.

    :raises DataError: if there are none
    """
    if path.is_file() and is_image(path.name):
        return Files(path.parent, {path.name: Entry(path.name)}), [path.name]
    files = list_files(path)
    return files, files.images()[0]


def _in_folder(root: Path) -> Iterator[Entry]:
    """Every file below root; links are followed, loops are not, nor hidden folders."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over an unreadable folder in silence

    seen = set()
    for top, folders, names in os.walk(root, onerror=fail, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if _visible([folder]))
        for name in names:
            path = Path(top, name)
            # a dangling link is named when it is decoded, if it claims to be an image
            status = path.stat() if path.exists() else path.lstat()
            yield Entry(path.relative_to(root).as_posix(), (status.st_size, status.st_mtime_ns))


def _in_zip(root: Path) -> Iterator[Entry]:
    status = root.stat()
    with zipfile.ZipFile(root) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(("/", "\\")):
                stamp = (entry.CRC, entry.file_size, status.st_size, status.st_mtime_ns)
                yield Entry(entry.filename, stamp, unreadable(entry))


def _parts(name: str) -> list[str]:
    parts = name.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def _visible(parts: Iterable[str]) -> bool:
    return not any(part.startswith(".") or part.lower() in _SYSTEM for part in parts)
