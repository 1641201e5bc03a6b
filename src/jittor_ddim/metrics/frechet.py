"""The Fréchet distance of two sets of features, seen as normal distributions."""

import numpy as np
from numpy.typing import ArrayLike

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import Moments, check_pair, moments


class FrechetDistance:
    """The distance of any set from one, whose covariance is taken apart once."""

    def __init__(self, reference: Moments) -> None:
        """:param reference: the one; where several are compared with it, this saves time"""
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
