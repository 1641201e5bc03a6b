"""Improved precision and recall (Kynkäänniemi et al. 2019)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jittor_ddim import arguments
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import check_pair

Doubles = NDArray[np.float64]

_ROWS = 1000  # of a table of distances in memory


def precision_recall(
    real: ArrayLike, generated: ArrayLike, neighbours: int = 3
) -> tuple[float, float]:
    """Return the share of generated images like real ones, and of real ones like generated ones.

    An image is like a set if its features lie in the ball around one of the set's members that
    reaches to that member's k-th nearest neighbour in the set (eq. 1 and 2).

    :param real: (N, D)
    :param generated: (M, D)
    :param neighbours: k
    :raises UserError: if they are not two finite sets of the same features, with more than k rows
    """
    neighbours = arguments.integer("neighbours", neighbours, 1)
    first, second = check_pair(real, generated)
    fewest = min(len(first), len(second))
    if fewest <= neighbours:
        raise UserError(f"{fewest} images are too few: each needs {neighbours} neighbours")
    precision = _covered(second, first, _radii(first, neighbours))
    recall = _covered(first, second, _radii(second, neighbours))
    return precision, recall


def _radii(points: Doubles, neighbours: int) -> Doubles:
    """Return every point's squared distance to its k-th nearest neighbour."""
    # The nearest of all is the point itself.
    tables = _squared_distances(points, points)
    return np.concatenate([np.partition(t, neighbours, axis=1)[:, neighbours] for t in tables])


def _covered(points: Doubles, centres: Doubles, radii: Doubles) -> float:
    """Return the share of points that lie in a ball."""
    inside = [(t <= radii).any(axis=1) for t in _squared_distances(points, centres)]
    return float(np.concatenate(inside).mean())


def _squared_distances(points: Doubles, others: Doubles) -> Iterator[Doubles]:
    """Yield tables of the distances between some of the points and all others."""
    for start in range(0, len(points), _ROWS):
        x = points[start : start + _ROWS]
        squares = (x**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
        yield np.maximum(squares - 2 * x @ others.T, 0)
