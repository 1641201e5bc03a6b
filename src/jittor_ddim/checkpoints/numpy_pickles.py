"""NumPy arrays in pickles, and Jittor's ``.pkl`` files, which consist of them."""

import hashlib
import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.checkpoints.pickles import Names, admit, checked_key, load
from jittor_ddim.errors import CheckpointError

#: How Jittor ends its files: SHA-1 of what is before, then this.
_TRAILER = b"HCAJSLHD"
_DIGEST = hashlib.sha1().digest_size
#: Floats, integers, unsigned integers and booleans, as NumPy writes their types.
_NUMBERS = re.compile(r"f[248]|[iu][1248]|b1")


class ArrayType:
    """A NumPy dtype, whose byte order follows in the pickle."""

    def __init__(self, name: Any, *_: Any) -> None:
        """:param name: for instance ``f4``"""
        # np.dtype understands much more than the names of numbers, such as structures.
        if type(name) is not str or not _NUMBERS.fullmatch(name):
            what = name[:20] if type(name) is str else f"a {type(name).__name__}"
            raise CheckpointError(f"refused: arrays of {what!r} instead of numbers")
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> None:
        """Take the state that NumPy pickles: a version, the byte order, and nothing else."""
        _, order, *_ = state
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """A NumPy array, whose content may follow in the pickle."""

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        """:param array: None if it follows"""
        self._array = array

    def build(self, state: Any) -> None:
        """Take the state that NumPy pickles: version, shape, type, order and data."""
        _, shape, dtype, fortran, data = state
        self._array = _from_bytes(data, dtype, shape, "F" if fortran else "C")

    def array(self) -> NDArray[Any]:
        """Return the array.

        :raises CheckpointError: if its content never came
        """
        if self._array is None:
            raise CheckpointError("damaged: an array without content")
        return self._array


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    return PickledArray(_from_bytes(data, dtype, shape, order))


def _scalar(dtype: Any, data: Any) -> Any:
    return _from_bytes(data, dtype, (), "C").item()


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1")
    if not isinstance(dtype, ArrayType) or not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array that is not plain numbers")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array with an impossible shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError("an array whose data does not fit its shape")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes in the pickles of protocols 0 to 2."""
    if encoding != "latin1":
        raise ValueError("an encoding that pickles do not use")
    return text.encode("latin-1")


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    """An OrderedDict, empty or of a list of pairs, as Python pickles it."""
    if type(items) not in (tuple, list):  # a dictionary could be copied a thousand times over
        raise ValueError("an OrderedDict that is not made of pairs")
    return {checked_key(key): value for key, value in items}


def _jittor_var(array: Any, *_: Any) -> PickledArray:
    if not isinstance(array, PickledArray):
        raise ValueError("a Jittor Var that is not an array")
    return array


_CORE = {
    "multiarray._reconstruct": lambda *_: PickledArray(),
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
#: What pickles of arrays and plain containers use.
NAMES: Names = admit({
    "numpy.dtype": ArrayType,
    "numpy.ndarray": None,
    **{f"numpy.core.{name}": make for name, make in _CORE.items()},  # before NumPy 2
    **{f"numpy._core.{name}": make for name, make in _CORE.items()},
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",  # in protocols 0 to 2; of a number it would fill the memory
    "jittor.jittor_core.Var": _jittor_var,
    "jittor_core.Var": _jittor_var,
    "collections.OrderedDict": _ordered_dict,
})  # fmt: skip


def read_jittor_pickle(data: bytes) -> Any:
    """Read what ``jittor.save`` writes: a pickle with NumPy arrays, with or without a checksum.

    :returns: containers, numbers, strings and :class:`PickledArray`
    :raises CheckpointError: if it is damaged, or would run code
    """
    if data.endswith(_TRAILER):
        data, digest = data[: -_DIGEST - len(_TRAILER)], data[-_DIGEST - len(_TRAILER) :][:_DIGEST]
        if hashlib.sha1(data).digest() != digest:
            raise CheckpointError("damaged (wrong checksum)")
    file = io.BytesIO(data)
    tree = load(file, NAMES)
    if file.read(1):
        raise CheckpointError("damaged: something follows the pickle")
    return tree
