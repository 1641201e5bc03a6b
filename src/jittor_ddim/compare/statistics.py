"""Figures of repeated calls: percentiles, and a ratio with its interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.results import Timing

_RESAMPLES = 9999
_CONFIDENCE = 0.95


def timing(seconds: Sequence[float]) -> Timing:
    """Return the figures of some calls.

    :param seconds: at least one
    """
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    return Timing(
        count=len(seconds),
        mean=float(np.mean(seconds)),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        max=float(np.max(seconds)),
    )


def ratio_of_medians(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float, float]:
    """Return median(second) / median(first), and the ends of its 95 % bootstrap interval.

    Both samples are drawn anew, each on its own, with replacement (Efron 1979, percentiles).

    :param first: seconds, at least two
    :param second: likewise
    """
    # Not at the top: it would slow down the start of other commands.
    from scipy.stats import bootstrap

    def statistic(
        a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        return np.median(b, axis=axis) / np.median(a, axis=axis)

    result = bootstrap(
        (np.asarray(first), np.asarray(second)),
        statistic,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        # The same figures give the same interval. SciPy before 1.15 knows no other name for it.
        random_state=np.random.default_rng(0),  # pyright: ignore[reportCallIssue]
    )
    interval = result.confidence_interval
    return (
        float(np.median(second) / np.median(first)),
        float(interval.low),
        float(interval.high),
    )
