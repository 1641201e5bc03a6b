"""The difference of two Fréchet distances whose images began with the same noise."""

import numpy as np
from numpy.typing import ArrayLike

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.frechet import FrechetDistance
from jittor_ddim.metrics.moments import Moments, check_pair, moments


def paired_difference(
    a_features: ArrayLike, b_features: ArrayLike, reference: Moments, blocks: int = 10
) -> tuple[float, float]:
    """Return the distance of a minus that of b, and the standard error of this difference.

    Sample i of both sets has the same noise, so most of what chance does to one distance it does
    to the other. The jackknife leaves the same block of samples out of both (Künsch 1989): with
    d_j the difference without block j, the error is sqrt((g-1)/g sum_j (d_j - mean)^2).

    :param a_features: (N, D)
    :param b_features: (N, D), of the same samples
    :param blocks: g; every g-th sample is a block, so that the order of samples does not matter
    :raises UserError: if the sets differ in shape, or have fewer than two samples a block
    """
    a, b = check_pair(a_features, b_features)
    if a.shape != b.shape or len(a) < 2 * blocks:
        raise UserError(f"no {blocks} blocks of pairs in {len(a)} and {len(b)} samples")

    distance = FrechetDistance(reference)

    def difference(rows: slice | np.ndarray) -> float:
        return distance(moments(a[rows])) - distance(moments(b[rows]))

    block = np.arange(len(a)) % blocks
    without = np.array([difference(block != j) for j in range(blocks)])
    variance = (blocks - 1) / blocks * ((without - without.mean()) ** 2).sum()
    return difference(slice(None)), float(np.sqrt(variance))
