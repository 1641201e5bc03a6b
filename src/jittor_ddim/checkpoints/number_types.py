"""The numbers of weight files as NumPy's arrays, also of types that NumPy lacks.

    bfloat16          the upper half of a float32
    float8_e4m3fn     sign, 4 bits of exponent, 3 of mantissa; no infinity
    float8_e5m2       the upper half of a float16
    float8_…fnuz      one more in the exponent's bias; no infinity, no negative zero, one NaN

Every value of theirs is one of float32's (Micikevicius et al., "FP8 formats for deep learning",
2022; Noune et al., "8-bit numerical formats for deep neural networks", 2022).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_BFLOAT16 = "bfloat16"
_NAN = float("nan")


def _eight_bits(exponent_bits: int, bias: int, without: dict[int, float]) -> NDArray[np.float32]:
    """The values of all 256 codes.

    :param without: codes, without their sign, that follow no rule
    """
    codes = np.arange(128)
    exponent, mantissa = np.divmod(codes, 2 ** (7 - exponent_bits))
    fraction = mantissa / 2 ** (7 - exponent_bits)
    values = np.where(
        exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias)
    )
    for code, value in without.items():
        values[code] = value
    return np.concatenate([values, -values]).astype(np.float32)


def _without_infinity(exponent_bits: int, bias: int) -> NDArray[np.float32]:
    table = _eight_bits(exponent_bits, bias, {})
    table[128] = _NAN  # where the others have the negative zero
    return table


_TABLES = {
    "float8_e4m3fn": _eight_bits(4, 7, {127: _NAN}),
    "float8_e5m2": _eight_bits(5, 15, {124: np.inf, 125: _NAN, 126: _NAN, 127: _NAN}),
    "float8_e4m3fnuz": _without_infinity(4, 8),
    "float8_e5m2fnuz": _without_infinity(5, 16),
}
#: Types beside those that NumPy has.
OWN = (_BFLOAT16, *_TABLES)


def width(dtype: str) -> int:
    """Return how many bytes a number of a type has.

    :param dtype: one of :data:`OWN`, or a name of NumPy's
    """
    return {_BFLOAT16: 2}.get(dtype) or (1 if dtype in _TABLES else np.dtype(dtype).itemsize)


def numbers(data: Any, dtype: str, order: Literal["<", ">"] = "<") -> NDArray[Any]:
    """Return the numbers in a row of bytes; types that NumPy lacks become float32.

    :param data: anything that has bytes
    :param dtype: as for :func:`width`
    """
    if dtype in _TABLES:
        return _TABLES[dtype][np.frombuffer(data, np.uint8)]
    if dtype == _BFLOAT16:
        halves = np.frombuffer(data, np.dtype("u2").newbyteorder(order))
        return (halves.astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder(order))
