"""Safetensors files: the library checks the header of what is read, the rest is done here.

The library's NumPy functions support neither bfloat16 nor float8.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from jittor_ddim.checkpoints.number_types import numbers
from jittor_ddim.errors import CheckpointError, why

SUFFIX = ".safetensors"
#: The format's names of types. Those with 4 and 6 bits and F8_E8M0 need scales, which each program
#: stores in its own way; complex numbers are not weights.
_DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    **{f"{kind}{8 * size}": f"{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    "BOOL": "?",
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray

    def array(self) -> NDArray[Any]:
        """Return the tensor's numbers.

        :raises CheckpointError: if their type is not one of weights
        """
        if self.dtype not in _DTYPES:
            raise CheckpointError(
                f"{self.name[:80]}: has the type {self.dtype}, which cannot be read as weights; "
                "save it as F32, F16 or BF16"
            )
        return numbers(self.data, _DTYPES[self.dtype]).reshape(self.shape)


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return a file's tensors by name, in its order, and its metadata.

    :raises CheckpointError: if it is damaged
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
        stored = dict(safetensors.deserialize(path.read_bytes()))  # in another order every time
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"not a readable {SUFFIX} file ({why(error, 120)}); get a new copy"
        ) from None
    return {
        name: StoredTensor(name, one["dtype"], tuple(one["shape"]), one["data"])
        for name, one in ((name, stored[name]) for name in names)
    }, metadata


def safetensors_parts(
    arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file, its numbers as they lie in memory.

    The library copies all of them first, and holds up other threads meanwhile. For arrays of one
    type its file is the same byte for byte.

    :param arrays: of floating-point numbers or integers
    """
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so all are aligned
    tree: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in names:
        array, end = arrays[name], start + arrays[name].nbytes
        kind = _CODES[array.dtype.str[1:]]
        tree[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    for name in names:
        array = arrays[name]
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield np.ravel(little_endian).view(np.uint8).data


def to_safetensors(
    arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return what :func:`safetensors_parts` yields, as a whole."""
    return b"".join(safetensors_parts(arrays, metadata))
