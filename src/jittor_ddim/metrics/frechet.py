"""The Fréchet distance of two sets of features, seen as normal distributions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import Moments, check_pair, moments

Doubles = NDArray[np.float64]


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)).

    (Dowson & Landau 1982; Heusel et al. 2017, eq. 6.) With S = L L^T the nonzero eigenvalues of
    S_a S_b are the squared singular values of L_a^T L_b, so that the trace of the root is their
    sum. Both L come from a symmetric eigendecomposition, which also a singular covariance (fewer
    images than features) has; nothing is squared, so rounding is not taken the root of.

    :raises UserError: if the numbers of features differ
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(
            f"statistics of {len(a.mean)} and of {len(b.mean)} features have no distance; make "
            "both with the same network"
        )
    root = np.linalg.svd(_factor(a.covariance).T @ _factor(b.covariance), compute_uv=False)
    shift = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(shift @ shift + traces - 2 * root.sum())


def fid(real: ArrayLike, generated: ArrayLike) -> float:
    """Return the Fréchet distance of features (N, D) and (M, D); FID, if they are Inception's.

    :raises UserError: if they are not two finite sets of the same features
    """
    first, second = check_pair(real, generated)
    return frechet_distance(moments(first), moments(second))


def _factor(covariance: Doubles) -> Doubles:
    """Return L with L L^T = covariance; rounding may have made zero eigenvalues negative."""
    values, vectors = np.linalg.eigh(covariance)
    lengths: Doubles = np.sqrt(values.clip(min=0))
    return vectors * lengths
