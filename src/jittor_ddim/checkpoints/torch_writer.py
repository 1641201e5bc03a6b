"""Writes, without PyTorch, files that ``torch.load(weights_only=True)`` reads."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import writing
from jittor_ddim.checkpoints.torch_files import DTYPES

_TOP = "archive"
_ALIGNMENT = 64  # of the numbers in the file, so that PyTorch can map it into memory
_DATE = (1980, 1, 1, 0, 0, 0)  # always: equal content makes equal files
_LOCAL_HEADER = 30  # bytes of a zip's header before name and padding
_PADDING = b"FB"  # PyTorch's own tag of it
_STORAGES = {np.dtype(dtype): storage for storage, dtype in DTYPES.items() if dtype != "bfloat16"}


def write_torch(path: Path, tree: Any) -> None:
    """Write a tree of containers, numbers, strings and arrays; the arrays become tensors.

    Equal trees make equal files, to the byte.

    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full or read-only; a file already there is untouched
    """
    program = _Pickle()
    program.write(tree)
    with writing(path, sync=True) as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, "data.pkl", program.finish())
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(program.arrays):
            little = array.dtype.newbyteorder("<")
            _add(archive, f"data/{key}", array.astype(little, order="C").tobytes())
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(f"{_TOP}/{name}", _DATE)
    assert archive.fp
    begin = archive.fp.tell() + _LOCAL_HEADER + len(entry.filename) + 4
    gap = -begin % _ALIGNMENT
    entry.extra = _PADDING + struct.pack("<H", gap) + b"Z" * gap
    archive.writestr(entry, data)


class _Pickle:
    """A growing pickle of protocol 2, and the arrays that it refers to; no part is shared."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._parts = [b"\x80\x02"]

    def finish(self) -> bytes:
        return b"".join([*self._parts, b"."])

    def write(self, value: Any) -> None:
        """Append the instructions that make a value.

        :raises TypeError: for types that no weights file holds
        """
        add = self._parts.append
        if value is None or isinstance(value, bool):
            add({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
            add(b"\x8a" + bytes([len(data)]) + data)
        elif isinstance(value, float):
            add(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            data = value.encode()
            add(b"X" + struct.pack("<I", len(data)) + data)
        elif isinstance(value, np.ndarray):
            self._tensor(value)
        elif isinstance(value, Mapping):
            self._sequence(b"}(", [part for item in value.items() for part in item], b"u")
        elif isinstance(value, list):
            self._sequence(b"](", value, b"e")
        elif isinstance(value, tuple):
            self._sequence(b"(", value, b"t")
        else:
            raise TypeError(f"a weights file cannot hold a {type(value).__name__}")

    def _sequence(self, start: bytes, items: Any, end: bytes) -> None:
        self._parts.append(start)
        for item in items:
            self.write(item)
        self._parts.append(end)

    def _tensor(self, array: NDArray[Any]) -> None:
        storage = _STORAGES[array.dtype.newbyteorder("=")]
        strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
        self._parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.write("storage")
        self._parts.append(f"ctorch\n{storage}\n".encode())
        for part in (str(len(self.arrays)), "cpu", array.size):
            self.write(part)
        self._parts.append(b"tQ")  # a persistent id
        self.arrays.append(array)
        for part in (0, array.shape, strides, False):
            self.write(part)
        self._parts.append(b"ccollections\nOrderedDict\n)RtR")
