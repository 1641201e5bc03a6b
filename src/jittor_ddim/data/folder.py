"""Any folder or zip of images, in any nesting."""

import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Opened, Source, Split, decode, fingerprint, hold_out
from jittor_ddim.errors import DataError

EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)  # lower case
_log = logging.getLogger(__name__)


def folder_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return the images below ``data.root``, a folder or a zip, ordered by name.

    Folders `train` and `test` at the top (or inside the only folder there) are the splits;
    images beside them are left out. Otherwise 5 % are held out. Files without an image extension
    are ignored, hidden ones and those of __MACOSX too.

    :param exp: not looked at: a folder is where data.root says
    :raises DataError: if there is no such folder, or too few images in it
    """
    if data.root is None:
        raise DataError("data.root: FOLDER needs it; set it to a folder or a zip of images")
    root = Path(data.root).expanduser().resolve()
    files = list_files(root)
    images = [name for name in files if is_image(name)]
    if not images:
        raise DataError(f"{root}: no images in it (looked for {', '.join(sorted(EXTENSIONS))})")
    keys = _of_split(images, split, root)
    return Source(
        name=f"images of {root} ({split})",
        fingerprint=fingerprint([(key, files[key]) for key in keys]),
        open=lambda: open_files(root, keys),
        ignored=len(files) - len(images),
    )


def list_files(root: Path) -> dict[str, tuple[int, ...]]:
    """Map the name of every visible file, sorted, to numbers that change when the file does.

    :param root: a folder or a zip file
    :raises DataError: if it is neither, or cannot be read
    """
    try:
        if root.is_dir():
            found = {
                path.relative_to(root).as_posix(): (status.st_size, status.st_mtime_ns)
                for path, status in _walk(root)
            }
        else:
            status = root.stat()
            with zipfile.ZipFile(root) as archive:
                found = {
                    entry.filename: (
                        entry.CRC,
                        entry.file_size,
                        status.st_size,
                        status.st_mtime_ns,
                    )
                    for entry in archive.infolist()
                    if not entry.is_dir() and _visible(*PurePosixPath(entry.filename).parts)
                }
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file or folder") from None
    except zipfile.BadZipFile:
        raise DataError(f"{root}: neither a folder nor a zip file") from None
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from None
    return dict(sorted(found.items()))


@contextmanager
def open_files(root: Path, keys: Sequence[str]) -> Iterator[Opened]:
    """Open the named images of a folder or zip for decoding."""
    with open_contents(root) as read:
        yield keys, lambda key: Image.open(BytesIO(read(key)))


@contextmanager
def open_contents(root: Path) -> Iterator[Callable[[str], bytes]]:
    """Yield what reads a file of a folder or zip by its name; threads may call it at once."""

    def reading(read_bytes: Callable[[str], bytes]) -> Callable[[str], bytes]:
        def read(key: str) -> bytes:
            try:
                return read_bytes(key)
            except OSError as error:  # the disk's fault or the user's, but not a damaged image
                raise DataError(f"{root}: cannot read {key} ({error.strerror or error})") from None

        return read

    if root.is_dir():
        yield reading(lambda key: (root / key).read_bytes())
    else:
        with zipfile.ZipFile(root) as archive:
            yield reading(archive.read)


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every visible file below root with its status; links are followed, loops are not."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over an unreadable folder in silence

    seen = set()
    for top, folders, names in os.walk(root, onerror=fail, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(filter(_visible, folders))
        for name in filter(_visible, names):
            path = Path(top, name)
            # a dangling link is named when it is decoded, if it claims to be an image
            yield path, path.stat() if path.exists() else path.lstat()


def _visible(*parts: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _of_split(images: list[str], split: Split, root: Path) -> list[str]:
    wrapper = os.path.commonpath([os.path.dirname(name) for name in images])
    prefix = f"{wrapper}/" if wrapper else ""
    tops = [name.removeprefix(prefix).partition("/")[0] for name in images]
    if not {"train", "test"} <= set(tops):
        return [images[i] for i in hold_out(len(images), split, str(root))]
    unused = sum(top not in ("train", "test") for top in tops)
    if unused:
        _log.warning("%s: %d images are neither in train/ nor in test/: left out", root, unused)
    return [name for name, top in zip(images, tops, strict=True) if top == split]


def read_images(root: Path, image_size: int, channels: int, limit: int) -> NDArray[np.uint8]:
    """Return one image file, or the first below a folder or zip, by name, all splits together.

    :param limit: at most so many
    :returns: uint8 (N, image_size, image_size, channels), N >= 1
    :raises DataError: if there are none, or naming one that cannot be decoded
    """
    root = root.expanduser().resolve()
    if root.is_file() and is_image(root.name):
        root, images = root.parent, [root.name]
    else:
        images = [name for name in list_files(root) if is_image(name)]
    if not images:
        raise DataError(f"{root}: no images in it (looked for {', '.join(sorted(EXTENSIONS))})")
    decoded = []
    with open_files(root, images[:limit]) as (keys, read):
        for key in keys:
            try:
                decoded.append(decode(read(key), image_size, channels))
            except DataError:
                raise
            except Exception as error:  # a damaged file makes Pillow and zipfile raise anything
                raise DataError(f"{root}: cannot decode {key} ({error}); remove it") from None
    return np.stack(decoded)


def is_image(name: str) -> bool:
    """Tell by its extension whether a file claims to be an image."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS
