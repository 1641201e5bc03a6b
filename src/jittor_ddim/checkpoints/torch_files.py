"""PyTorch's files without PyTorch: the zip format, and the one before version 1.6.

A zip holds ``NAME/data.pkl`` and one entry for each storage, ``NAME/data/KEY``, uncompressed, each
with a CRC-32. The older format is a row of pickles (a magic number, a version, the machine's byte
order, the object, the storages' keys), then for each key a count and the numbers; it has no
checksum.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterable
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
        """Take the bytes, and their order in a number."""
        if len(data) != self.count * width(self.dtype):
            raise CheckpointError(f"damaged: a storage of {self.count} values has another size")
        self._data, self._order = data, order

    def numbers(self, dtype: str) -> NDArray[Any]:
        """Return all of it as numbers of a type, the same array for all of its tensors."""
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
        """Return it as a read-only view."""
        numbers = self.storage.numbers(self.dtype)[self.offset :]
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False)


def read_zip(path: Path) -> Any:
    """Read a file of PyTorch 1.6 or later.

    :returns: containers, numbers, strings and :class:`TensorRecord`; of a TorchScript archive the
        state dict
    :raises CheckpointError: if it is damaged, or would run code
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path.stat().st_size)
    except _BROKEN as error:
        raise CheckpointError(
            f"damaged or cut short: not a whole zip ({why(error, 80)})"
        ) from None


def read_legacy(data: bytes) -> Any:
    """Read a file of PyTorch before 1.6.

    Returns and raises as :func:`read_zip`.
    """
    file = io.BytesIO(data)
    storages: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int, view: Any = None) -> _Storage:
        if view is not None:
            raise CheckpointError("refused: a view of a storage, which only old PyTorch wrote")
        return storages.setdefault(key, _Storage(kind, count))

    load(file, {})  # the magic number, by which the file was recognised
    if load(file, {}) != _LEGACY_VERSION:
        raise CheckpointError("damaged: not the version of PyTorch's older format")
    machine = load(file, {})
    if not isinstance(machine, dict) or type(machine.get("little_endian")) is not bool:
        raise CheckpointError("damaged: no byte order")
    order = "<" if machine["little_endian"] else ">"
    tree = load(file, NAMES, _persistent(storage))
    keys = load(file, {})
    if not isinstance(keys, list) or any(type(key) is not str for key in keys):
        raise CheckpointError("damaged: no list of storages")
    if sorted(keys) != sorted(storages):
        raise CheckpointError("damaged: its list of storages is not that of its tensors")
    for key in keys:
        count = np.frombuffer(file.read(8).ljust(8, b"\0"), f"{order}i8").item()
        if count != storages[key].count:
            raise CheckpointError(
                f"damaged: storage {key[:20]} does not have the size that it claims"
            )
        storages[key].fill(file.read(count * width(storages[key].dtype)), order)
    if file.read(1):
        raise CheckpointError("damaged: something follows the last storage")
    return tree


def _read_archive(archive: zipfile.ZipFile, size: int) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    top = _top(entries)
    entries = {
        name: entry
        for name, entry in entries.items()
        if not name.startswith(tuple(f"{top}{ignored}" for ignored in IGNORED))
    }
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise CheckpointError("refused: compressed entries, which PyTorch never writes")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise CheckpointError("refused: its entries claim to be larger than the file")
    order = b"little"
    if f"{top}byteorder" in entries:
        order = archive.read(f"{top}byteorder")
    if order not in (b"little", b"big"):
        raise CheckpointError("damaged: an unknown byte order")
    storages: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        if key not in storages:
            storages[key] = _Storage(kind, count)
            data = archive.read(f"{top}data/{key}")
            storages[key].fill(data, "<" if order == b"little" else ">")
        return storages[key]

    tree = load(io.BytesIO(archive.read(f"{top}data.pkl")), NAMES, _persistent(storage))
    return flatten(tree) if isinstance(tree, ScriptObject) else tree


def _top(names: Iterable[str]) -> str:
    """The one folder of an archive of PyTorch."""
    found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
        raise CheckpointError("not a file of PyTorch: a zip without data.pkl")
    return found[0].removesuffix("data.pkl")


def _persistent(storage: Callable[..., _Storage]) -> Callable[[Any], _Storage]:
    """Return what makes a storage of ``("storage", type, key, location, count[, view])``."""

    def find(identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise CheckpointError("refused: a persistent id that is not a storage of numbers")
        _, kind, key, _, count, *view = identity
        name = kind.name.removeprefix("torch.") if isinstance(kind, Admitted) else ""
        if name not in (*DTYPES, _UNTYPED):
            what = name[:80] or "an unknown type"
            raise CheckpointError(f"refused: a storage of {what}; save the weights as floats")
        if type(key) not in (str, int) or type(count) is not int or count < 0:  # int: Jittor's
            raise CheckpointError("damaged: a storage without key or size")
        dtype = DTYPES.get(name, "u1")
        found = storage(dtype, str(key), count, *view)
        if (found.count, found.dtype) != (count, dtype):
            raise CheckpointError("damaged: two descriptions of one storage")
        return found

    return find


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any = None, hooks: Any = (), *rest: Any
) -> TensorRecord:
    """``torch._utils._rebuild_tensor_v2``."""
    if not isinstance(storage, _Storage) or hooks or any(rest):
        raise CheckpointError("refused: a tensor that is more than numbers")
    return _view(storage, storage.dtype, offset, shape, strides)


def _tensor_of_bytes(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any, hooks: Any, dtype: Any, *rest: Any
) -> TensorRecord:
    """``torch._utils._rebuild_tensor_v3``, whose storage tells no type."""
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Admitted) else "no type"
    if name not in _UNTYPED_DTYPES:
        raise CheckpointError(f"refused: a tensor of {name[:80]}; save the weights as floats")
    if not isinstance(storage, _Storage) or storage.dtype != "u1" or hooks or any(rest):
        raise CheckpointError("refused: a tensor that is more than numbers")
    return _view(storage, _UNTYPED_DTYPES[name], offset, shape, strides)


def _view(storage: _Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    """A tensor that lies inside its storage."""
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
    """What programs save beside a network and is not needed: options, a shape, a device."""

    def __init__(self, *_: Any) -> None:
        """Ignore the arguments."""

    def build(self, state: Any) -> None:
        """Ignore the attributes."""


class _Names(dict[str, Admitted]):
    """A table that admits all names of PyTorch, which may only be mentioned, as a type is."""

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
