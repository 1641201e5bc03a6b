"""The Fréchet distance of two sets of features as normal distributions, and paired differences."""

import numpy as np
from numpy.typing import ArrayLike

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import Moments, check_pair, moments


class FrechetDistance:
    """The distance of any set from one, whose covariance is decomposed only once."""

    def __init__(self, reference: Moments) -> None:
        """:param reference: the one set"""
        self._reference = reference
        values, vectors = np.linalg.eigh(reference.covariance)
        # S = L L^T; rounding may have made eigenvalues negative that are zero.
        self._factor = vectors * np.sqrt(values.clip(min=0))

    def __call__(self, other: Moments) -> float:
        """Return |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)).

        (Dowson & Landau 1982; Heusel et al. 2017, section 4.) S_1 S_2 is not symmetric, but its
        nonzero eigenvalues are those of L^T S_2 L, which is: their roots are real, also where a
        covariance is singular, and need no multiple of the identity added.

        :raises UserError: if the numbers of features differ
        """
        reference = self._reference
        if reference.mean.shape != other.mean.shape:
            raise UserError(
                f"statistics of {len(reference.mean)} and of {len(other.mean)} features have no "
                "distance; make both with the same network"
            )
        squared = np.linalg.eigvalsh(self._factor.T @ other.covariance @ self._factor)
        root = np.sqrt(squared.clip(min=0)).sum()
        shift = reference.mean - other.mean
        traces = np.trace(reference.covariance) + np.trace(other.covariance)
        return float(shift @ shift + traces - 2 * root)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the Fréchet distance of two sets; see :class:`FrechetDistance`.

    :raises UserError: if the numbers of features differ
    """
    return FrechetDistance(a)(b)


def fid(real: ArrayLike, generated: ArrayLike) -> float:
    """Return the Fréchet distance of features (N, D) and (M, D); FID, if they are Inception's.

    :raises UserError: if they are not two finite sets of the same features
    """
    first, second = check_pair(real, generated)
    return frechet_distance(moments(first), moments(second))


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
