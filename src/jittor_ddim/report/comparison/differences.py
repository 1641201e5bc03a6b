"""Differences of arrays as the checks measure them."""

from collections.abc import Sequence
from typing import Literal

from jittor_ddim.compare.results import Difference


def shares(name: Literal["outputs", "gradients"], found: Sequence[Difference]) -> list[float]:
    """Return every difference as a share of what its check compares it with.

    That is an output's own largest magnitude, but of gradients the largest one of all: some are
    zero in exact arithmetic (of a key's bias before a softmax), and what is left is rounding.
    """
    if name == "outputs":
        return [one.relative for one in found]
    largest = max((one.scale for one in found), default=0.0) or 1.0
    return [one.max_abs / largest for one in found]
