"""The kernel Inception distance (Bińkowski et al. 2018)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jittor_ddim import arguments
from jittor_ddim.metrics.moments import check_pair

Doubles = NDArray[np.float64]


def kid(
    real: ArrayLike,
    generated: ArrayLike,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Return mean and standard deviation of the unbiased MMD^2 over random subsets.

    The kernel is k(x, y) = (x . y / D + 1)^3. Subsets are drawn without replacement, first of the
    generated features, then of the real ones, as torch-fidelity draws them.

    :param real: (N, D)
    :param generated: (M, D)
    :param subset_size: see :func:`kid_subset_size`
    :raises UserError: if they are not two finite sets of the same features, or a number is out of
        range
    """
    subsets = arguments.integer("subsets", subsets, 1)
    subset_size = arguments.integer("subset_size", subset_size, 2)
    seed = arguments.integer("seed", seed, 0, arguments.MAX_RANDOMSTATE_SEED)
    first, second = check_pair(real, generated)
    size = kid_subset_size(len(first), len(second), subset_size)
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        fake = second[random.choice(len(second), size, replace=False)]
        true = first[random.choice(len(first), size, replace=False)]
        values.append(_squared_mmd(fake, true))
    return float(np.mean(values)), float(np.std(values))


def kid_subset_size(count: int, other: int, subset_size: int = 1000) -> int:
    """Return how many images a subset has: at most as many as the smaller set."""
    return min(count, other, subset_size)


def _squared_mmd(x: Doubles, y: Doubles) -> float:
    """Return the unbiased estimate of two sets of equal size (Gretton et al. 2012, eq. 3)."""
    n = len(x)
    within = 0.0
    for z in (x, y):
        products = _kernel(z, z)
        within += products.sum() - np.trace(products)
    return float(within / (n * (n - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: Doubles, y: Doubles) -> Doubles:
    return (x @ y.T / x.shape[1] + 1) ** 3
