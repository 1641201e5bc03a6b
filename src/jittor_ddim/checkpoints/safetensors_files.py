"""Files of safetensors: the library checks their header, every type of number is read here.

For NumPy the library knows neither bfloat16 nor float8.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from numpy.typing import NDArray

from jittor_ddim.checkpoints.number_types import numbers
from jittor_ddim.errors import CheckpointError

SUFFIX = ".safetensors"
#: The format's names of types. Those with 4 and 6 bits and F8_E8M0 come with scales in tensors of
#: their own, in as many ways as there are programs; complex numbers are no weights.
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


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, as it lies there."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray

    def array(self) -> NDArray[Any]:
        """Return its numbers.

        :raises CheckpointError: if their type is none that weights can have
        """
        if self.dtype not in _DTYPES:
            raise CheckpointError(
                f"{self.name[:80]}: its numbers are {self.dtype}, which are no weights by "
                "themselves; save it as F32, F16 or BF16"
            )
        return numbers(self.data, _DTYPES[self.dtype]).reshape(self.shape)


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return a file's tensors by name, and its metadata.

    :raises CheckpointError: if it is damaged
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
        stored = dict(safetensors.deserialize(path.read_bytes()))  # in another order every time
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(
            f"not a readable {SUFFIX} file ({line[:120]}); get it anew"
        ) from None
    tensors = {}
    for name in names:
        one = stored[name]
        tensors[name] = StoredTensor(name, one["dtype"], tuple(one["shape"]), one["data"])
    return tensors, metadata
