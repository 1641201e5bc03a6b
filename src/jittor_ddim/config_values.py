"""The numbers that a config takes, however they are spelt."""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from jittor_ddim import arguments


def number(value: Any) -> Any:
    """Refuse YAML's `yes`, which would become the number 1."""
    if isinstance(value, (bool, np.bool_)):
        raise ValueError("takes numbers")
    return value


def integer(value: Any) -> Any:
    """Return the integer that a value is, such as `1e6`, which is text in YAML 1.1."""
    found = number(value)
    if isinstance(value, str):
        try:
            found = float(value) if set(value) & set(".eE") else int(value)
        except ValueError:
            return value
    whole = arguments.whole(found)
    return value if whole is None else whole


Number = Annotated[float, BeforeValidator(number)]
Integer = Annotated[int, BeforeValidator(integer)]
Integers = Annotated[
    tuple[Integer, ...],
    BeforeValidator(lambda value: value.tolist() if isinstance(value, np.ndarray) else value),
]
