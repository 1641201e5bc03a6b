"""One rule for the arguments of public functions: what an integer, a number and a name are.

A whole float is an integer, a bool is no number, and NumPy's scalars count as Python's.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jittor_ddim.errors import UserError

MAX_SEED = 2**64 - 1  # of the indices of samples too
MAX_RANDOMSTATE_SEED = 2**32 - 1  # of NumPy's older generator
_T = TypeVar("_T")


def whole(value: Any) -> int | None:
    """Return the integer that a value is, be it a whole float or NumPy's; None if it is none."""
    if not _is_number(value):
        return None
    return int(value) if isinstance(value, Integral) or float(value).is_integer() else None


def integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return the integer that an argument must be.

    :raises UserError: naming the argument, what it must be and what it is
    """
    number = whole(value)
    if number is None:
        raise _refusal(name, "an integer", value)
    if least is not None and number < least or most is not None and number > most:
        bounds = f">= {least}" if most is None else f"in {least} … {most}"
        raise _refusal(name, bounds, number)
    return number


def seed(value: Any) -> int:
    """Return the seed that an argument must be.

    :raises UserError: see :func:`integer`
    """
    return integer("seed", value, 0, MAX_SEED)


def indices(values: Any) -> Sequence[int]:
    """Return the sample indices that an argument must hold.

    :raises UserError: see :func:`integers`
    """
    rows = integers("indices", values)
    for row in (min(rows, default=0), max(rows, default=0)):
        integer("indices", row, 0, MAX_SEED)
    return rows


def integers(name: str, values: Any, what: str = "a sequence of integers") -> Sequence[int]:
    """Return the integers that an argument must hold.

    :param what: the words for it in an error
    :raises UserError: naming the argument, what it must be and what it is
    """
    if isinstance(values, range):
        found: Sequence[int | None] = values
    elif isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise _refusal(name, what, values)
    elif isinstance(values, np.ndarray) and values.ndim != 1:
        raise UserError(f"{name} must be {what}, got an array of shape {values.shape}")
    else:
        found = [whole(value) for value in values]
    numbers = [number for number in found if number is not None]
    if len(numbers) < len(found):
        raise _refusal(name, what, values)
    return numbers


def number(name: str, value: Any) -> float:
    """Return the float that an argument must be; its range is for others to check.

    :raises UserError: naming the argument, what it must be and what it is
    """
    if not _is_number(value):
        raise _refusal(name, "a number", value)
    return float(value)


def numbers(
    name: str, values: Any, what: str = "a sequence of numbers"
) -> list[int] | list[float]:
    """Return the finite numbers that an argument must hold, whole ones as integers.

    :param what: the words for it in an error
    :raises UserError: naming the argument, what it must be and what it is
    """
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise _refusal(name, what, values)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise UserError(f"{name} must be {what}, got an array of shape {values.shape}")
    found = list(values)
    try:
        if all(_is_number(value) and math.isfinite(value) for value in found):
            return [float(v) if (n := whole(v)) is None else n for v in found]
    except OverflowError:  # an integer that no float holds
        pass
    raise _refusal(name, what, values)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return the name that an argument must be.

    :raises UserError: naming the argument, what it takes and what it is
    """
    if not isinstance(value, str) or value not in allowed:
        raise _refusal(name, f"one of {', '.join(allowed)}", value)
    return value


def instance(name: str, value: Any, kind: type[_T], what: str) -> _T:
    """Return an argument that must be of a type.

    :param what: the words for it in an error
    :raises UserError: naming the argument, what it must be and what it is
    """
    if not isinstance(value, kind):
        raise _refusal(name, what, value)
    return value


def path(name: str, value: Any) -> Path:
    """Return the path that an argument must be.

    :raises UserError: naming the argument, what it must be and what it is
    """
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if isinstance(text, str) and text and "\0" not in text:
            return Path(text)
    raise _refusal(name, "a path", value)


def _is_number(value: Any) -> bool:
    """Whether it is a real number, also as NumPy's array without dimensions."""
    scalar = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    return isinstance(scalar, Real) and not isinstance(scalar, bool)  # np.bool_ is no Real


def _refusal(name: str, what: str, value: Any) -> UserError:
    shown = " ".join(repr(value).split())
    return UserError(
        f"{name} must be {what}, got {shown if len(shown) <= 80 else shown[:79] + '…'}"
    )
