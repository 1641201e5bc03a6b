"""What convolutions and attention round what they multiply to."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_precision: ContextVar[str] = ContextVar("precision", default="float32")


@contextmanager
def multiplying_in(precision: str) -> Iterator[None]:
    """Let convolutions, and later their gradients, round what they multiply to a precision.

    Sums, results and all other operations stay float32. On a GPU attention's products do as
    convolutions do, and cuDNN rounds the results of convolutions in bfloat16 too.

    :param precision: ``float32``, ``bfloat16`` or, on a GPU alone, ``tf32``
    """
    token = _precision.set(precision)
    try:
        yield
    finally:
        _precision.reset(token)


def multiplies_float32() -> bool:
    """Tell whether nothing is rounded."""
    return _precision.get() == "float32"


def precision_numbers() -> dict[str, int]:
    """Return what kernels read of it."""
    return {name: int(_precision.get() == name) for name in ("bfloat16", "tf32")}
