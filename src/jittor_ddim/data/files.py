"""The files in a folder or a zip: which of them are images, by extension, and their contents."""

import logging
import os
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from PIL import Image

from jittor_ddim.decoding import formats
from jittor_ddim.errors import DataError
from jittor_ddim.image_files import unreadable

#: What systems leave beside people's files, in lower case.
_SYSTEM = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir"))
#: MPO is what some cameras write; Pillow opens it as JPEG, and so lists no reader of that name.
_OTHER_NAMES = {".mpo": "JPEG"}
_REASONS = {
    "an archive; unpack it": ".zip .gz .tgz .bz2 .xz .zst .7z .rar",
    "shards; data.dataset: SHARDS reads them": ".tar",
    "an LMDB; data.dataset: LSUN or FFHQ reads it": ".mdb",
    "a table; data.dataset: PARQUET reads it": ".parquet",
    "arrays; data.dataset: NPZ reads an .npz": ".npy .npz",
    "vector graphics; convert it to PNG": ".svg .eps .ps .pdf .ai .wmf .emf",
    "a video; save its frames as PNG": ".mp4 .mov .avi .mkv .webm .mpg .mpeg .wmv .m4v",
    "this Pillow cannot read it; convert it to PNG": ".heic .heif .hif .avif .jxl .jxr .exr .hdr "
    ".dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw .xcf .jp2 .webp .dcm .djvu",
    "not an image; only a dataset.json has classes": ".json",
    "no file extension": "",
}
#: The file of classes in the data sets of EDM and StyleGAN, which belongs to the images.
LABELS_FILE = "dataset.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One file.

    :ivar stored: its name in the folder or zip, as it is written there
    :ivar stamp: numbers that change when the file does
    :ivar problem: why it cannot be read, if that is known
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

    def images(self) -> tuple[list[str], str]:
        """Return the names of the images, in order, and what the other files are; "" if none.

        :raises DataError: if there are no images, or one is encrypted or compressed unreadably
        """
        extensions = image_extensions()
        images = [name for name in self.entries if _extension(name) in extensions]
        others = [name for name in self.entries if _extension(name) not in extensions]
        if not images:
            found = f", only {_explain(others)}" if others else "; it is empty"
            raise DataError(f"{self.root}: no images in it{found}")
        bad = [name for name in images if self.entries[name].problem]
        if bad:
            raise DataError(
                f"{self.root}: {bad[0]} {self.entries[bad[0]].problem} ({len(bad)} of "
                f"{len(images)} images)"
            )
        return images, _explain(name for name in others if PurePath(name).name != LABELS_FILE)

    @contextmanager
    def open(self) -> Iterator[Callable[[str], bytes]]:
        """Yield a function that reads a file by name; several threads may call it.

        It raises DataError if a file cannot be read, and any exception for a damaged zip entry.
        """
        archive = None if self.root.is_dir() else zipfile.ZipFile(self.root)

        def read(name: str) -> bytes:
            stored = self.entries[name].stored
            try:
                return archive.read(stored) if archive else (self.root / stored).read_bytes()
            except OSError as error:
                reason = error.strerror or error
                raise DataError(f"{self.root}: cannot read {name} ({reason})") from None

        with archive or nullcontext():
            yield read


def list_files(root: Path) -> Files:
    """List the files of a folder, at any depth, or of a zip.

    A backslash in a name separates folders: Windows PowerShell 5 packs such names, and unpacking
    elsewhere leaves them. Nothing is ever extracted.

    :raises DataError: if root is neither, or cannot be read, or names in a zip lead out of it
    """
    try:
        found = list(_in_folder(root) if root.is_dir() else _in_zip(root))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file or folder") from None
    except zipfile.BadZipFile:
        with root.open("rb") as file:
            if file.read(4) == b"PK\3\4":
                raise DataError(f"{root}: a damaged or incomplete zip; get a new copy") from None
        raise DataError(
            f"{root}: neither a folder nor a zip file; give an image's folder, and unpack any "
            "other archive"
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from None
    entries: dict[str, Entry] = {}
    twice: set[str] = set()
    for entry in found:
        parts = entry.stored.replace("\\", "/").split("/")
        parts = [part for part in parts if part not in ("", ".", "..")]
        if _visible(parts):
            name = "/".join(parts)
            if name in entries:
                twice.add(name)
            entries[name] = entry  # as unpacking would: the last one stays
    if twice:
        _log.warning(
            "%s: %d name(s) occur more than once, such as %s; the last file of each is used",
            root,
            len(twice),
            min(twice),
        )
    return Files(root, dict(sorted(entries.items())))


def images_at(path: Path) -> tuple[Files, list[str]]:
    """Return the files at a path (an image file, a folder or a zip) and the images' names.

    :raises DataError: if there are none
    """
    if path.is_file() and _extension(path.name) in image_extensions():
        return Files(path.parent, {path.name: Entry(path.name)}), [path.name]
    files = list_files(path)
    return files, files.images()[0]


def image_extensions() -> dict[str, str]:
    """Map every image file extension that can be read, in lower case, to its format."""
    readable = set(formats())
    known = Image.registered_extensions() | _OTHER_NAMES
    return {extension: name for extension, name in known.items() if name in readable}


def count_jpeg(names: Iterable[str]) -> int:
    """Return how many of the names are those of JPEG files."""
    extensions = image_extensions()
    return sum(extensions.get(_extension(name)) == "JPEG" for name in names)


def _explain(others: Iterable[str]) -> str:
    """For each extension: how many of the files have it, and why they are not images."""
    reasons = {one: why for why, extensions in _REASONS.items() for one in extensions.split(" ")}
    by_extension: dict[str, list[str]] = defaultdict(list)
    for name in others:
        by_extension[_extension(name)].append(name)
    return ", ".join(
        f"{len(names)} {extension} such as {names[0]} "
        f"({reasons.get(extension, 'not an image extension')})"
        for extension, names in sorted(by_extension.items(), key=lambda item: -len(item[1]))
    ).replace("  ", " ")


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _in_folder(root: Path) -> Iterator[Entry]:
    """Every file below root; links are followed, loops are not, nor hidden folders."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would silently skip an unreadable folder

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
                check_inside(root, entry.filename)
                stamp = (entry.CRC, entry.file_size, status.st_size, status.st_mtime_ns)
                yield Entry(entry.filename, stamp, unreadable(entry))


def check_inside(root: Path, name: str) -> None:
    """Refuse an archive whose names lead out of it: such a file is damaged or an attack.

    :raises DataError: naming it
    """
    path = PureWindowsPath(name)  # for it / and \\ both separate
    if path.root or ".." in path.parts:
        raise DataError(
            f"{root}: the name {name!r} leads out of it; pack the images again, by relative names"
        )


def _visible(parts: Iterable[str]) -> bool:
    return not any(part.startswith(".") or part.lower() in _SYSTEM for part in parts)
