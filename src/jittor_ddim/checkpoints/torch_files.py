"""Reads PyTorch files without PyTorch: the zip format, and the one before version 1.6.

A zip holds ``NAME/data.pkl`` and one entry for each storage, ``NAME/data/KEY``, uncompressed, each
with a CRC-32. The older format is a row of pickles (a magic number, a version, the machine's byte
order, the object, the storages' keys), then for each key a count and the numbers; it has no
checksum.
"""

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.checkpoints.number_types import OWN, numbers, width
from jittor_ddim.checkpoints.numpy_pickles import NAMES as NUMPY_NAMES
from jittor_ddim.checkpoints.pickles import Admitted, Names, admit, load
from jittor_ddim.checkpoints.torchscript import FUNCTIONS, IGNORED, ScriptObject, flatten
from jittor_ddim.errors import CheckpointError, why

ZIP_MAGIC = b"PK\x03\x04"
#: A pickle, of protocol 2, of the number that begins an older file.
LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_LEGACY_VERSION = 1001
#: The types of storages by PyTorch's names.
DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
#: A storage of bytes, whose tensors tell their type: that of everything younger.
_UNTYPED = "storage.UntypedStorage"
_UNTYPED_DTYPES = {
    **{name: name for name in OWN},
    **{f"uint{8 * size}": f"u{size}" for size in (2, 4, 8)},
}
#: RuntimeError: a flipped bit says that an entry is compressed or encrypted.
_BROKEN = (zipfile.BadZipFile, ValueError, LookupError, EOFError, OverflowError, RuntimeError)


@dataclass
class _Storage:
    """A row of numbers; in an older file they follow the tensors that are made of them."""

    dtype: str
    count: int
    _data: bytes = b""
    _order: Literal["<", ">"] = "<"
    _numbers: dict[str, NDArray[Any]] = field(default_factory=dict)

    def fill(self, data: bytes, order: Literal["<", ">"]) -> None:
        """Take the storage's bytes, and their order in a number."""
        if len(data) != self.count * width(self.dtype):
            raise CheckpointError(f"damaged: a storage of {self.count} values has the wrong size")
        self._data, self._order = data, order

    def numbers(self, dtype: str) -> NDArray[Any]:
        """Return the whole storage as numbers of a type; all its tensors share the array."""
        if dtype not in self._numbers:
            self._numbers[dtype] = numbers(self._data, dtype, self._order)
        return self._numbers[dtype]


@dataclass(frozen=True)
class TensorRecord:
    """A tensor: a view of a storage."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """Return the tensor as a read-only view of its storage."""
        numbers = self.storage.numbers(self.dtype)[self.offset :]
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False)


class _Storages(dict[str, _Storage]):
    """The storages of a file by key."""

    def __init__(self, order: Literal["<", ">"], read: Callable[[str], bytes] | None) -> None:
        """:param read: returns a storage's bytes by its key; None if they follow"""
        super().__init__()
        self._order: Literal["<", ">"] = order
        self._read = read

    def find(self, identity: Any) -> _Storage:
        """Return the storage of ``("storage", type, key, location, count[, view])``."""
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise CheckpointError("refused: a persistent id that is not a storage of numbers")
        _, kind, key, _, count, *view = identity
        name = _name(kind)
        if name not in (*DTYPES, _UNTYPED):
            raise CheckpointError(f"refused: a storage of {name}; save the weights as floats")
        if type(key) not in (str, int) or type(count) is not int or count < 0:  # int: Jittor's
            raise CheckpointError("damaged: a storage without a key or size")
        if any(one is not None for one in view):
            raise CheckpointError(
                "refused: a view of a storage, as only old versions of PyTorch write"
            )
        key, dtype = str(key), DTYPES.get(name, "u1")
        if key not in self:
            self[key] = _Storage(dtype, count)
            if self._read:
                self[key].fill(self._read(key), self._order)
        if (self[key].count, self[key].dtype) != (count, dtype):
            raise CheckpointError("damaged: contradictory descriptions of one storage")
        return self[key]


def read_zip(path: Path) -> Any:
    """Read a file of PyTorch 1.6 or later.

    :returns: containers, numbers, strings and :class:`TensorRecord`; the state dict of a
        TorchScript archive
    :raises CheckpointError: if it is damaged, or would run code
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path.stat().st_size)
    except _BROKEN as error:
        raise CheckpointError(
            f"damaged or cut short: not a complete zip ({why(error, 80)})"
        ) from None


def read_legacy(data: bytes) -> Any:
    """Read a file of PyTorch before 1.6.

    Results and errors are those of :func:`read_zip`.
    """
    file = io.BytesIO(data)
    load(file, {})  # the magic number, by which the file was recognised
    if load(file, {}) != _LEGACY_VERSION:
        raise CheckpointError("damaged: an unknown version of PyTorch's older format")
    machine = load(file, {})
    if not isinstance(machine, dict) or type(machine.get("little_endian")) is not bool:
        raise CheckpointError("damaged: no byte order")
    order: Literal["<", ">"] = "<" if machine["little_endian"] else ">"
    storages = _Storages(order, None)
    tree = load(file, NAMES, storages.find)
    keys = load(file, {})
    if not isinstance(keys, list) or any(type(key) is not str for key in keys):
        raise CheckpointError("damaged: no list of storages")
    if sorted(keys) != sorted(storages):
        raise CheckpointError("damaged: its list of storages does not match its tensors")
    for key in keys:
        count = np.frombuffer(file.read(8).ljust(8, b"\0"), f"{order}i8").item()
        if count != storages[key].count:
            raise CheckpointError(f"damaged: storage {key[:20]} does not have the size it claims")
        storages[key].fill(file.read(count * width(storages[key].dtype)), order)
    if file.read(1):
        raise CheckpointError("damaged: extra data after the last storage")
    return tree


def _read_archive(archive: zipfile.ZipFile, size: int) -> Any:
    names = archive.namelist()
    tops = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(tops) != 1:
        raise CheckpointError("not a PyTorch file: a zip without data.pkl")
    top = tops[0].removesuffix("data.pkl")
    ignored = tuple(f"{top}{name}" for name in IGNORED)
    entries = [entry for entry in archive.infolist() if not entry.filename.startswith(ignored)]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError("refused: compressed entries, which PyTorch never writes")
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError("refused: its entries claim to be larger than the file")
    order = archive.read(f"{top}byteorder") if f"{top}byteorder" in names else b"little"
    if order not in (b"little", b"big"):
        raise CheckpointError("damaged: an unknown byte order")
    storages = _Storages(
        "<" if order == b"little" else ">", lambda key: archive.read(f"{top}data/{key}")
    )
    tree = load(io.BytesIO(archive.read(f"{top}data.pkl")), NAMES, storages.find)
    return flatten(tree) if isinstance(tree, ScriptObject) else tree


def _name(mentioned: Any) -> str:
    """The name of one of PyTorch's types, for a table or a message."""
    known = isinstance(mentioned, Admitted)
    return mentioned.name.removeprefix("torch.")[:80] if known else "an unknown type"


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any = None, hooks: Any = (), *rest: Any
) -> TensorRecord:
    """``torch._utils._rebuild_tensor_v2``."""
    return _view(storage, None, offset, shape, strides, hooks or any(rest))


def _tensor_of_bytes(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any, hooks: Any, dtype: Any, *rest: Any
) -> TensorRecord:
    """``torch._utils._rebuild_tensor_v3``, whose storage does not tell the type."""
    name = _name(dtype)
    if name not in _UNTYPED_DTYPES:
        raise CheckpointError(f"refused: a tensor of {name}; save the weights as floats")
    return _view(storage, _UNTYPED_DTYPES[name], offset, shape, strides, hooks or any(rest))


def _view(
    storage: Any, dtype: str | None, offset: Any, shape: Any, strides: Any, more: Any
) -> TensorRecord:
    """A tensor that lies inside its storage; one of bytes if the type is told."""
    if more or not isinstance(storage, _Storage) or (dtype and storage.dtype != "u1"):
        raise CheckpointError("refused: a tensor that is not plain numbers")
    dtype = dtype or storage.dtype
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor without shape")
    whole = (offset, *shape, *strides)
    if any(type(n) is not int or n < 0 for n in whole) or len(shape) != len(strides):
        raise ValueError("a tensor with a wrong shape")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    count = storage.count * width(storage.dtype) // width(dtype)
    if math.prod(shape) > count or (math.prod(shape) and last >= count):
        raise CheckpointError("refused: a tensor larger than its storage")
    return TensorRecord(storage, dtype, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> TensorRecord:
    if not isinstance(tensor, TensorRecord):
        raise ValueError("a parameter that is not a tensor")
    return tensor


class _Ignored:
    """What programs save with a network and is not needed: options, a shape, a device."""

    def __init__(self, *_: Any) -> None:
        """Ignore the arguments."""

    def build(self, state: Any) -> None:
        """Ignore the attributes."""


class _Names(dict[str, Admitted]):
    """A table that admits all of PyTorch's names, but only to be mentioned, as types are."""

    def __missing__(self, name: str) -> Admitted:
        """Admit the name; classes of a TorchScript archive make a :class:`ScriptObject`."""
        if name.startswith("__torch__."):
            return Admitted(name, ScriptObject)
        if name.startswith("torch."):
            return Admitted(name)
        raise KeyError(name)


#: What PyTorch's files of weights and optimisers use.
NAMES: Names = _Names({
    **NUMPY_NAMES,
    **admit(FUNCTIONS),
    **admit(dict.fromkeys(("argparse.Namespace", "torch.Size", "torch.device"), _Ignored)),
    **admit({
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
        "torch._utils._rebuild_parameter": _parameter,
    }),
})  # fmt: skip
