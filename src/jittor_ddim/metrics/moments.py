"""Mean and covariance of features, in float64 and in one pass over any number of images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jittor_ddim.errors import UserError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The mean and covariance of a set of features, all that a Fréchet distance needs.

    :ivar mean: (D,)
    :ivar covariance: (D, D), with N - 1 in the denominator
    :ivar count: N; None where another program's file does not tell
    """

    mean: Doubles
    covariance: Doubles
    count: int | None


class MomentsAccumulator:
    """Moments of features that arrive in batches of any size."""

    def __init__(self) -> None:
        """Begin without images."""
        self.count = 0
        self._mean: Doubles = np.zeros(0)
        self._scatter: Doubles = np.zeros((0, 0))

    def add(self, features: ArrayLike) -> None:
        """Take in features (B, D).

        Means and scatters of two parts are joined by the pairwise formula of Chan, Golub and
        LeVeque (1983, eq. 2.1), which does not cancel as E[x x^T] - E[x] E[x]^T does.

        :raises UserError: if they are not finite
        """
        batch = check_features(features, "features")
        mean = batch.mean(axis=0)
        centred = batch - mean
        self.join(len(batch), mean, centred.T @ centred)

    def join(self, count: int, mean: Doubles, scatter: Doubles) -> None:
        """Take in a part of which :meth:`state` was told, by the same formula."""
        if self.count == 0:
            self._mean, self._scatter = mean, scatter
        elif count:
            total = self.count + count
            shift = mean - self._mean
            self._scatter += scatter
            self._scatter += np.outer(shift, shift) * (self.count * count / total)
            self._mean = self._mean + shift * (count / total)
        self.count += count

    def state(self) -> tuple[int, Doubles, Doubles]:
        """Return the count, the mean (D,) and the scatter (D, D) of all that was added."""
        return self.count, self._mean, self._scatter

    def moments(self) -> Moments:
        """Return the moments of all that was added.

        :raises UserError: if that is fewer than two images, which have no covariance
        """
        if self.count < 2:
            raise UserError(f"{self.count} image(s): a distance needs at least 2 images")
        return Moments(self._mean.copy(), self._scatter / (self.count - 1), self.count)


def moments(features: ArrayLike) -> Moments:
    """Return the moments of features (N, D).

    :raises UserError: if there are fewer than two, or they are not finite
    """
    accumulator = MomentsAccumulator()
    accumulator.add(features)
    return accumulator.moments()


def check_features(features: ArrayLike, name: str) -> Doubles:
    """Return features as float64 (N, D).

    :raises UserError: if they have another form or are not finite
    """
    try:
        array = np.asarray(features)
    except ValueError:  # rows of different lengths
        raise UserError(f"{name}: expected an array (N, D), got uneven rows") from None
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: expected an array (N, D) of numbers, got {array.dtype}")
    array = array.astype(np.float64, copy=False)
    if array.ndim != 2 or array.size == 0:
        raise UserError(f"{name}: expected an array (N, D), got shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise UserError(f"{name}: not finite, first in row {row}")
    return array


def check_pair(real: ArrayLike, generated: ArrayLike) -> tuple[Doubles, Doubles]:
    """Return two sets of features as float64 (N, D) and (M, D).

    :raises UserError: if one has another form, less than two rows, or their D differ
    """
    first, second = check_features(real, "real"), check_features(generated, "generated")
    if first.shape[1] != second.shape[1]:
        raise UserError(f"real has {first.shape[1]} features, generated {second.shape[1]}")
    for name, array in (("real", first), ("generated", second)):
        if len(array) < 2:
            raise UserError(f"{name}: {len(array)} image(s); a distance needs at least 2 images")
    return first, second
