"""Image sets on disk: a folder of ``{index}.png``, or one ``.npz`` with the array ``images``.

The ``.npz`` holds uint8 of shape (N, H, W, C) in index order. It is written image by image, and
read image by image or memory-mapped, so a set may be larger than memory; it is never unpickled.
"""

import io
import math
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.atomic import disk_errors, write_atomic, writing
from jittor_ddim.decoding import eight_bits
from jittor_ddim.errors import DataError

Shape = tuple[int, ...]
Order = Literal["C", "F"]

_MEMBER = "images.npy"
_UNNAMED = "arr_0.npy"  # NumPy's name for an array without one
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_ENCRYPTED = 1  # a bit of an entry's flags


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Return an image of shape (H, W, 1) or (H, W, 3) as a grey or RGB PNG file."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"an image must be uint8 (H, W, 1 or 3), got {image.dtype} {image.shape}")
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "png")
    return buffer.getvalue()


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image of shape (H, W, 1) or (H, W, 3) as a PNG file, whole or not at all."""
    write_atomic(path, png_bytes(image), sync=False)


def write_png(folder: Path, index: int, image: NDArray[np.uint8]) -> None:
    """Write one image of a set as ``{index}.png``; see :func:`save_image`."""
    save_image(folder / f"{index}.png", image)


def existing_indices(folder: Path) -> set[int]:
    """Return the indices of the complete images in a folder, which need not exist."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {
            int(entry.name[:-4])
            for entry in entries
            if re.fullmatch(r"(0|[1-9][0-9]*)\.png", entry.name) and _is_complete(entry.path)
        }


def pack(folder: Path, npz_path: Path) -> int:
    """Write the images of a folder into one ``.npz`` and return how many there are.

    :raises DataError: if there are none, one is missing, or they differ in shape
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    indices = existing_indices(folder)
    if not indices:
        raise DataError(f"{folder}: holds no images named 0.png, 1.png, …")
    missing = set(range(max(indices))) - indices
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} images up to {max(indices)}.png are missing or incomplete, "
            f"the first is {min(missing)}.png; sample again to complete them"
        )
    shape = _read_png(folder / "0.png").shape
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(indices), *shape)}
    with (
        writing(npz_path) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open(_MEMBER, "w", force_zip64=True) as member,
    ):
        npy.write_array_header_1_0(member, header)
        for index in range(len(indices)):
            image = _read_png(folder / f"{index}.png")
            if image.shape != shape:
                raise DataError(
                    f"{folder}: {index}.png is {show_size(image.shape)}, but 0.png is "
                    f"{show_size(shape)}; all images of a set must have one size"
                )
            member.write(image.tobytes())
    return len(indices)


def unpack(npz_path: Path, folder: Path) -> int:
    """Write the images of an ``.npz`` as ``{index}.png`` and return how many there are.

    The folder's images are replaced once all new ones are written; its other files stay.

    :raises DataError: if the file is not such a set; the folder is untouched then
    """
    folder = folder.resolve()  # "." has no name
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with disk_errors(folder):
            partial.mkdir(parents=True)
            for count, image in enumerate(_read_npz(npz_path), start=1):
                (partial / f"{count - 1}.png").write_bytes(png_bytes(image))
            folder.mkdir(exist_ok=True)
            for index in existing_indices(folder):
                (folder / f"{index}.png").unlink()
            for path in partial.iterdir():
                os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def open_npz(path: Path) -> NDArray[np.uint8]:
    """Return the images of an ``.npz``, uint8 (N, H, W, 1 or 3); a memory map unless compressed.

    :param path: a file with the array ``images``, or ``arr_0``, NumPy's name for an unnamed array
    :raises DataError: if it is not such a set
    """
    with _open_member(path) as (member, entry, shape, order):
        start, size = member.tell(), math.prod(shape)
        if entry.file_size != start + size:
            raise DataError(f"{path}: is truncated; create it again")
        if entry.compress_type != zipfile.ZIP_STORED:
            data = np.frombuffer(_read_exactly(member, size, path), np.uint8)
            return data.reshape(shape, order=order)
        with path.open("rb") as file:  # the local header ends with the lengths of two more fields
            file.seek(entry.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        offset = entry.header_offset + 30 + name + extra + start
        return np.memmap(path, np.uint8, "r", offset, shape, order)


def unreadable(entry: zipfile.ZipInfo) -> str | None:
    """Return why Python cannot read a zip entry and what to do about it, or None if it can."""
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the file with its password, and give the folder instead"
    if entry.compress_type in _READABLE:
        return None
    method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
    return (
        f"is compressed with {method}, which Python cannot read; unpack the file and give the "
        "folder instead, or compress it again with Deflate"
    )


def _is_complete(path: str) -> bool:
    with open(path, "rb") as file:
        start = file.read(len(_PNG_START))
        size = file.seek(0, os.SEEK_END)
        if start != _PNG_START or size < len(_PNG_START) + len(_PNG_END):
            return False
        file.seek(-len(_PNG_END), os.SEEK_END)
        return file.read() == _PNG_END


def _read_png(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB"):
                raise DataError(f"{path}: mode {image.mode}; convert the image to RGB or grey")
            decoded = eight_bits(image, "white")
    except (OSError, SyntaxError) as error:
        raise DataError(
            f"{path}: cannot be decoded ({error}); delete it and sample again"
        ) from None
    if decoded.changes:
        raise DataError(f"{path}: not plain 8-bit pixels ({decoded.changes[0]}); save it as such")
    array = np.asarray(decoded.image)
    return array[:, :, None] if array.ndim == 2 else array


def _read_npz(path: Path) -> Iterator[NDArray[np.uint8]]:
    with _open_member(path) as (member, _, (count, *shape), order):
        for _ in range(count if order == "C" else 0):
            data = _read_exactly(member, math.prod(shape), path)
            yield np.frombuffer(data, np.uint8).reshape(shape)
    if order == "F":  # an image's pixels are all over the file
        yield from open_npz(path)


@contextmanager
def _open_member(path: Path) -> Iterator[tuple[IO[bytes], zipfile.ZipInfo, Shape, Order]]:
    """Yield the array's file, positioned after its header, its entry, shape and order."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in (_MEMBER, _UNNAMED) if name in archive.namelist()]
            if not members:
                raise DataError(
                    f"{path}: no array 'images' in it; make it with `ddim images pack`"
                )
            entry = archive.getinfo(members[0])
            if problem := unreadable(entry):
                raise DataError(f"{path}: {members[0]} {problem}")
            with archive.open(entry) as member:
                yield member, entry, *_read_header(member, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: is not a readable .npz ({error})") from None


def _read_exactly(member: IO[bytes], size: int, path: Path) -> bytes:
    data = member.read(size)
    if len(data) < size:
        raise DataError(f"{path}: is truncated; create it again")
    return data


def _read_header(member: IO[bytes], path: Path) -> tuple[Shape, Order]:
    try:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran_order, dtype = readers[npy.read_magic(member)](member)
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: 'images' is not a NumPy array ({error})") from None
    channels = shape[3] if len(shape) == 4 and min(shape) > 0 else None
    if dtype != np.uint8 or channels not in (1, 3):
        raise DataError(
            f"{path}: 'images' must be uint8 of shape (N, H, W, 1 or 3), got {dtype} {shape}"
        )
    return shape, "F" if fortran_order else "C"


def show_size(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 32x32."""
    return "x".join(map(str, shape))
