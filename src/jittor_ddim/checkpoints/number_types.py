"""The numbers in weights files as NumPy arrays, including types that NumPy lacks.

    bfloat16          the upper half of a float32
    float8_e4m3fn     sign, 4 bits of exponent, 3 of mantissa; no infinity
    float8_e5m2       the upper half of a float16
    float8_…fnuz      a bias larger by one; no infinity, no negative zero, one NaN

All their values are exact in float32 (Micikevicius et al., "FP8 formats for deep learning", 2022;
Noune et al., "8-bit numerical formats for deep neural networks", 2022).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_BFLOAT16 = "bfloat16"
_NAN = float("nan")


def _float8(exponent_bits: int, bias: int, special: Mapping[int, float]) -> NDArray[np.float32]:
    """The values of all 256 codes; ``special`` has those that follow no rule."""
    exponent, mantissa = np.divmod(np.arange(128), 2 ** (7 - exponent_bits))
    fraction = mantissa / 2 ** (7 - exponent_bits) + (exponent > 0)
    values = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    table = np.concatenate([values, -values]).astype(np.float32)
    table[list(special)] = list(special.values())
    return table


_TABLES = {
    "float8_e4m3fn": _float8(4, 7, dict.fromkeys((0x7F, 0xFF), _NAN)),
    "float8_e5m2": np.arange(0, 1 << 16, 1 << 8)
    .astype(np.uint16)
    .view(np.float16)
    .astype(np.float32),
    "float8_e4m3fnuz": _float8(4, 8, {0x80: _NAN}),
    "float8_e5m2fnuz": _float8(5, 16, {0x80: _NAN}),
}
#: Types beside those that NumPy has.
OWN = (_BFLOAT16, *_TABLES)


def width(dtype: str) -> int:
    """Return the size in bytes of a number of a type, one of :data:`OWN` or of NumPy's."""
    return {_BFLOAT16: 2}.get(dtype) or (1 if dtype in _TABLES else np.dtype(dtype).itemsize)


def numbers(data: Any, dtype: str, order: Literal["<", ">"] = "<") -> NDArray[Any]:
    """Return bytes as an array of numbers; types that NumPy lacks become float32.

    :param dtype: as for :func:`width`
    """
    if dtype in _TABLES:
        return _TABLES[dtype][np.frombuffer(data, np.uint8)]
    if dtype == _BFLOAT16:
        halves = np.frombuffer(data, np.dtype("u2").newbyteorder(order))
        return (halves.astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder(order))
