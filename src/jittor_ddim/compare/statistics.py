"""Figures of repeated calls: means of known values, ratios of medians with their intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.results import Ratio

#: The seconds of all calls by kind and batch size.
Seconds = dict[tuple[Any, int], list[float]]
_RESAMPLES = 9999
_CONFIDENCE = 0.95


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    """Return the largest of the known values; None if there are none."""
    return max((value for value in values if value is not None), default=None)


def ratios(first: Seconds, *others: Seconds) -> list[Ratio]:
    """Return a ratio for everything that the first side and another have timed at least twice."""
    found = []
    for (kind, size), seconds in first.items():
        for side, other in enumerate(others, start=1):
            if min(len(seconds), len(other.get((kind, size), []))) > 1:
                value, low, high = ratio_of_medians(seconds, other[kind, size])
                found.append(
                    Ratio(kind=kind, batch_size=size, value=value, low=low, high=high, side=side)
                )
    return found


def ratio_of_medians(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float, float]:
    """Return median(second) / median(first), and the ends of its 95 % bootstrap interval.

    Both samples are drawn anew, each on its own, with replacement (Efron 1979, percentiles).

    :param first: seconds, at least two
    :param second: likewise
    """
    random = np.random.default_rng(0)  # the same figures give the same interval
    medians = [_resampled_medians(np.asarray(sample), random) for sample in (first, second)]
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(medians[1] / medians[0], (tail, 100 - tail))
    return float(np.median(second) / np.median(first)), float(low), float(high)


def _resampled_medians(
    sample: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Return medians of n draws with replacement from n figures, without making the draws.

    A draw is the figure at the place floor(n U), U uniform in [0, 1), of the sorted sample. So the
    k-th of n sorted draws is the one at floor(n U_(k)), and the k-th of n sorted uniforms is
    Beta(k, n + 1 - k); the next one above it is the least of n - k in what is left. The log of a
    long run has steps of which 9999 resamples would fill any memory.
    """
    ordered, n = np.sort(sample), len(sample)
    k = (n + 1) // 2
    middle = [random.beta(k, n + 1 - k, _RESAMPLES)]
    if n % 2 == 0:
        middle.append(middle[0] + (1 - middle[0]) * random.beta(1, n - k, _RESAMPLES))
    places = np.minimum((np.array(middle) * n).astype(np.int64), n - 1)
    return ordered[places].mean(axis=0)
