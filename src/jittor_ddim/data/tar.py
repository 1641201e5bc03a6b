"""Tar shards in WebDataset's layout: the files of a sample are neighbours with one key.

Key and extension are divided at the first dot of a file's name. What lies where is read from the
headers once, so that images can be read in any order; WebDataset's own reader goes through a shard
from its beginning and shuffles within a buffer.
"""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.files import check_inside, image_extensions
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
from jittor_ddim.decoding import open_image
from jittor_ddim.errors import DataError, why

_CLASS = "cls"  # WebDataset's extension of a file with the number of a class
_BLOCK = 512  # bytes; a file's content fills whole ones
_CHUNK = 2**20  # bytes read at once of what follows the end
#: What `tarfile` raises for damage; the last three where a header's size is absurd.
_DAMAGED = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError)


class _Place(NamedTuple):
    """Where a file's content lies or, of a link, the name of the file that has it."""

    path: Path
    offset: int
    size: int
    link: str = ""


def tar_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return the images of one or many ``.tar`` files; classes are in ``KEY.cls``.

    :param exp: not used
    :raises DataError: if there are none
    """
    shards = find_shards(data, split, ".tar")
    return shards.source("tar shards", split, _open, _find_labels)


@contextmanager
def _open(shards: Shards) -> Iterator[Opened]:
    places = {
        f"{name}/{member}": place
        for name, path in shards.paths.items()
        for member, place, _ in _images(path)
    }
    if not places:
        raise DataError(f"{shards.root}: no images in its .tar files")

    def read(key: str) -> Image.Image:
        place = places[key]
        if place.link:  # it has no bytes, and may name any file of this machine
            raise ValueError(f"a link to {place.link}; pack again with the files themselves")
        return open_image(_read(place))

    yield list(places), read


def _find_labels(shards: Shards) -> Labels:
    by_name = {}
    for name, path in shards.used.items():
        for member, image, place in _images(path):
            if image.link:
                continue
            content = _read(place) if place else b""
            if not content.strip().isdigit():
                raise (DataError if place else NoClassesError)(
                    f"{path}: {member} has no .{_CLASS} file with the number of a class; add it, "
                    "or leave model.num_classes out"
                )
            by_name[f"{name}/{member}"] = _number(content, f"{path}: {member}")
    count = len(set(by_name.values()))
    return Labels(by_name, None, f"{shards.root}: {count} classes, by .{_CLASS} files")


def _number(digits: bytes, image: str) -> int:
    """The class that a file of digits states.

    :raises DataError: if there can be none so large
    """
    significant = digits.strip().lstrip(b"0") or b"0"
    short = len(significant) <= len(str(LARGEST_CLASS))  # Python refuses to convert thousands
    if not (short and is_class(int(significant))):
        raise DataError(
            f"{image} has the class {significant[:40].decode()}, not a number from 0 to "
            f"{LARGEST_CLASS}; correct its .{_CLASS} file"
        )
    return int(significant)


def _images(path: Path) -> Iterator[tuple[str, _Place, _Place | None]]:
    """Yield the name of each image of a shard, where it lies, and where its class, if it has one.

    Links with the names of images come last.

    :raises DataError: if two images have one key
    """
    extensions = image_extensions()
    images: dict[str, tuple[str, _Place]] = {}
    links: dict[str, _Place] = {}
    classes: dict[str, _Place] = {}
    for name, place in _members(path):
        folder, slash, file = name.rpartition("/")
        stem, _, extension = file.partition(".")
        key, extension = f"{folder}{slash}{stem}", extension.lower()
        if not stem or (extension != _CLASS and f".{extension}" not in extensions):
            continue
        if place.link:
            links |= {} if extension == _CLASS else {name: place}
            continue
        other = images[key][0] if extension != _CLASS and key in images else None
        if other or (extension == _CLASS and key in classes):
            raise DataError(
                f"{path}: {other or name} and {name} have one key, {key}; give every sample a key "
                "of its own and pack the shard again"
            )
        if extension == _CLASS:
            classes[key] = place
        else:
            images[key] = name, place
    for key, (name, place) in images.items():
        yield name, place, classes.get(key)
    named = {name for name, _ in images.values()}
    for name, place in links.items():
        if name not in named:  # GNU tar's link of a file that was named twice, to itself
            yield name, place, None


def _members(path: Path) -> Iterator[tuple[str, _Place]]:
    """Yield the files and links of a plain tar, and where the files lie.

    :raises DataError: if it is none, or is cut short; `tarfile` takes damage for the end
    """
    end, last = 0, "its beginning"
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.size < 0:  # the next header would be at or before this one, for ever
                    raise DataError(
                        f"{path}: damaged at {member.name}, which has {member.size} bytes; get a "
                        "new copy"
                    )
                end, last = member.offset_data, member.name
                name = member.name.removeprefix("./")
                if member.isreg():
                    end += -(-member.size // _BLOCK) * _BLOCK
                    check_inside(path, member.name)
                    yield name, _Place(path, member.offset_data, member.size)
                elif member.islnk() or member.issym():
                    yield name, _Place(path, member.offset_data, 0, member.linkname)
        _check_end(path, end, last)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: not a plain .tar file, or cut short ({why(error)}); get a new copy, and "
            "unpack .tar.gz with gunzip"
        ) from None


def _check_end(path: Path, end: int, last: str) -> None:
    """Check that a tar ends where no more of it was read: with zeros, and nothing else.

    :param last: the name of its last file
    """
    with path.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise DataError(f"{path}: cut short or damaged after {last}; get a new copy")
        while rest := file.read(_CHUNK):
            if rest.count(0) < len(rest):
                raise DataError(
                    f"{path}: more follows after its end, which is after {last}; if shards were "
                    "joined by cat, make each a file of its own"
                )


def _read(place: _Place) -> bytes:
    try:
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.size)
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read ({error.strerror or error})") from None
