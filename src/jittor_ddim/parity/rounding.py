"""How far rounding alone drives two trainings apart, told by one side trained twice.

An optimiser that divides by a gradient's magnitude, as Adam does, makes a whole step of a gradient
that is nothing but rounding, so two trainings that agree to the last digit but one may part within
a few steps, and the faster the higher the learning rate is. No fixed bound tells this from a
mistake; a second training of one side does, that starts one rounding away from the first. Here are
the numbers alone: the weights of the second, and what both losses say of a bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: By how many times its own rounding a side may be off the other. The second training is moved
#: once, at the start, where two libraries round differently at every layer of every step. Measured
#: with seven seeds on digits.yml (20 steps of Adam at 0.002): 0.1 to 3.9 times.
FACTOR = 10.0


def nudged(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights with every number moved to a neighbouring one, up or down by chance.

    What is no floating-point number, or zero, stays.

    :param weights: arrays by name
    """
    random = np.random.default_rng(0)
    found = {}
    for name, array in weights.items():
        found[name] = array
        if array.dtype.kind == "f":
            up = random.random(array.shape) < 0.5
            ends = np.where(up, np.inf, -np.inf).astype(array.dtype)
            found[name] = np.where(array == 0, array, np.nextafter(array, ends))
    return found


def growth(first: Sequence[float | None], again: Sequence[float | None]) -> list[float]:
    """Return the largest relative difference of two curves up to each step; NaN is infinite."""
    gaps = [
        abs(b - a) / (abs(a) or 1.0) if a is not None and b is not None else math.inf
        for a, b in zip(first, again, strict=False)
    ]
    finite = [gap if math.isfinite(gap) else math.inf for gap in gaps]
    return np.maximum.accumulate(finite).tolist() if finite else []


def widened(bound: float, growths: Sequence[Sequence[float]], steps: int) -> list[float]:
    """Return the bound of each step: the given one, or what rounding alone explains.

    :param growths: of the sides that were trained twice; may be empty. An infinite one explains
        nothing
    """
    bounds = [bound] * steps
    for own in growths:
        for step, gap in enumerate(own[:steps]):
            if math.isfinite(gap):
                bounds[step] = max(bounds[step], FACTOR * gap)
    return bounds
