"""Spherical interpolation between two starting points (DDIM, appendix D.5)."""

import numpy as np
from numpy.typing import NDArray


def slerp(
    x_a: NDArray[np.float32], x_b: NDArray[np.float32], alphas: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return points on the arc from x_a to x_b (eq. 67).

    x(alpha) = sin((1 - alpha) theta) / sin(theta) x_a + sin(alpha theta) / sin(theta) x_b, where
    theta is the angle between the two. Interpolated noise keeps the norm of noise, which a
    straight line would not. Parallel inputs, for which the arc is undefined, take the line.

    :param x_a: (C, H, W)
    :param x_b: (C, H, W)
    :param alphas: (N,) in [0, 1]
    :returns: float32 (N, C, H, W)
    """
    a, b = x_a.astype(np.float64), x_b.astype(np.float64)
    cosine = np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b))
    theta = np.arccos(np.clip(cosine, -1, 1))
    alpha = np.asarray(alphas, np.float64).reshape(-1, *[1] * a.ndim)
    if np.sin(theta) < 1e-6:
        return ((1 - alpha) * a + alpha * b).astype(np.float32)
    weights = np.sin((1 - alpha) * theta), np.sin(alpha * theta)
    return ((weights[0] * a + weights[1] * b) / np.sin(theta)).astype(np.float32)
