"""The numbers that a config takes, however they are spelt."""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from jittor_ddim import arguments


def number(value: Any) -> Any:
    """Return a value without NumPy, and refuse YAML's `yes`, which would become the number 1."""
    plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(plain, bool):
        raise ValueError("takes numbers")
    return plain


def integer(value: Any) -> Any:
    """Return the integer that a value is, such as `1e6`, which is text in YAML 1.1."""
    plain = found = number(value)
    if isinstance(plain, str):
        try:
            found = float(plain) if set(plain) & set(".eE") else int(plain)
        except ValueError:
            return plain
    whole = arguments.whole(found)
    return plain if whole is None else whole


Number = Annotated[float, BeforeValidator(number)]
Integer = Annotated[int, BeforeValidator(integer)]
Integers = Annotated[tuple[Integer, ...], BeforeValidator(number)]
