"""Whether both sides compute the same model: from their arrays to differences and a verdict."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.results import Check, CheckName, Difference, Series

#: The bounds of docs/precision.md; each is a share of the maximum unless said otherwise.
OUTPUT_BOUND = 2e-5
GRADIENT_BOUND = 1e-4  # of the largest gradient of all parameters
LOSS_BOUND = 2e-5  # of the first 20 steps, relative; later ones grow apart as rounding does
NORM_BOUND = 1e-4  # of their gradient norms, likewise
LOSS_STEPS = 20
PIXEL_BOUND = 1e-3  # the share of pixels that may be more than 1/255 apart

Arrays = Mapping[str, NDArray[Any]]


def differences(first: Arrays, second: Arrays) -> list[Difference]:
    """Return how far arrays of the same names are apart, in the order of the first mapping.

    What only one side has, or has in another shape, is infinitely far apart.
    """
    names = [*first, *(name for name in second if name not in first)]
    return [_difference(name, first.get(name), second.get(name)) for name in names]


def check_weights(first: Mapping[str, str], second: Mapping[str, str]) -> Check:
    """Compare hashes of parameters: how many differ."""
    names = [*first, *(name for name in second if name not in first)]
    different = [name for name in names if first.get(name) != second.get(name)]
    return Check(
        name="weights",
        measured=len(different),
        bound=0,
        worst=different[0] if different else "",
        first=different[0] if different else "",
        count=len(names),
    )


def of_outputs(found: Sequence[Difference]) -> list[Difference]:
    """Refer layers' outputs each to its own maximum, below 1 to 1."""
    return [d.model_copy(update={"reference": max(1.0, d.scale)}) for d in found]


def of_gradients(found: Sequence[Difference]) -> list[Difference]:
    """Refer gradients all to the largest one.

    A gradient that is zero in exact arithmetic, as that of a bias before a normalisation, is
    nothing but rounding: measured by itself it could never agree.
    """
    largest = max((difference.scale for difference in found), default=0.0)
    return [d.model_copy(update={"reference": largest or 1.0}) for d in found]


def check_outputs(found: Sequence[Difference]) -> Check:
    """Compare the layers' outputs, as :func:`of_outputs` refers them."""
    return _check("outputs", found, OUTPUT_BOUND)


def check_gradients(found: Sequence[Difference]) -> Check:
    """Compare the gradients, as :func:`of_gradients` refers them."""
    return _check("gradients", found, GRADIENT_BOUND)


def check_curve(name: CheckName, first: Series, second: Series, count: int = LOSS_STEPS) -> Check:
    """Compare the losses (``losses``) or gradient norms (``grad_norms``) of the first steps."""
    key, bound = {"losses": ("loss", LOSS_BOUND), "grad_norms": ("grad_norm", NORM_BOUND)}[name]
    pairs = list(zip(first.step, getattr(first, key), getattr(second, key), strict=False))[:count]
    relative = [
        (abs(b - a) / (abs(a) or 1.0) if a is not None and b is not None else math.nan, step)
        for step, a, b in pairs
    ]
    above = [str(step) for value, step in relative if not value <= bound]
    worst, step = max(relative, key=_badness)
    return Check(
        name=name,
        measured=worst,
        bound=bound,
        worst=str(step),
        first=above[0] if above else "",
        count=len(pairs),
    )


def check_images(
    name: CheckName, first: NDArray[np.float32], second: NDArray[np.float32]
) -> Check:
    """Return the share of pixels that are more than 1/255 apart.

    :param first: intensities (N, C, H, W) in [0, 1]
    """
    apart = ~(np.abs(first.astype(np.float64) - second) <= 1 / 255)  # not-a-number is apart
    per_image = apart.reshape(len(apart), -1).mean(axis=1)
    return Check(
        name=name,
        measured=float(apart.mean()),
        bound=PIXEL_BOUND,
        worst=str(int(per_image.argmax())) if apart.any() else "",
        first=str(int(per_image.nonzero()[0][0])) if apart.any() else "",
        count=apart.size,
    )


def _difference(name: str, first: NDArray[Any] | None, second: NDArray[Any] | None) -> Difference:
    if first is None or second is None or first.shape != second.shape:
        return Difference(name=name, max_abs=math.inf, scale=0.0)
    # In float64, where the difference of two float32 is exact; NaN stays NaN.
    apart = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return Difference(name=name, max_abs=float(apart.max()), scale=float(np.abs(first).max()))


def _badness(pair: tuple[float, Any]) -> tuple[bool, float]:
    """The order of the worst: not-a-number above every number."""
    return math.isnan(pair[0]), pair[0]


def _check(name: CheckName, found: Sequence[Difference], bound: float) -> Check:
    shares = [(difference.relative, difference.name) for difference in found]
    above = [name for share, name in shares if not share <= bound]
    worst, worst_name = max(shares, key=_badness)
    return Check(
        name=name,
        measured=worst,
        bound=bound,
        worst=worst_name,
        first=above[0] if above else "",
        count=len(found),
    )
