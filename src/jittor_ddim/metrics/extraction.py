"""From images to features: threads decode and resize while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.errors import NotFiniteError
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_THREADS = min(8, os.cpu_count() or 1)


class FeatureNetwork(Protocol):
    """What turns images into features and logits."""

    def prepare(self, images: Pixels) -> Any:
        """Return uint8 images (B, H, W, 3) as the network's input; threads may call it at once."""
        ...

    def features(self, prepared: Any) -> tuple[Floats, Floats]:
        """Return features (B, D) and logits (B, classes) of a prepared batch."""
        ...


@dataclass(frozen=True)
class Extracted:
    """What is left of a set of images.

    :ivar features: (N, D), where they were to be kept
    :ivar logits: (N, classes), where they were to be kept
    """

    moments: Moments
    features: Floats | None
    logits: Floats | None


def extract(
    batches: Iterable[Callable[[], Pixels]],
    network: FeatureNetwork,
    *,
    keep_features: bool = False,
    keep_logits: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> Extracted:
    """Return the moments of the features of all images, and what is to be kept of the images.

    :param batches: functions that load one batch each, uint8 (B, H, W, 3)
    :param done: told after every batch how many images it had
    :raises UserError: if there are fewer than two images, or one cannot be loaded
    :raises NotFiniteError: at the first image whose features are not finite
    """
    accumulator = MomentsAccumulator()
    kept_features, kept_logits = [], []
    for prepared in _prepared(batches, network):
        features, logits = network.features(prepared)
        _check_finite(features, logits, accumulator.count)
        accumulator.add(features)
        if keep_features:
            kept_features.append(features)
        if keep_logits:
            kept_logits.append(logits)
        done(len(features))
    return Extracted(
        accumulator.moments(),
        np.concatenate(kept_features) if keep_features else None,
        np.concatenate(kept_logits) if keep_logits else None,
    )


def _check_finite(features: Floats, logits: Floats, before: int) -> None:
    """:param before: how many images came before"""
    for name, array in (("features", features), ("logits", logits)):
        rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(rows):
            raise NotFiniteError(
                f"the {name} of image {before + rows[0]} are not finite: the weights of the "
                "network that measures are broken; get them anew (--inception)"
            )


def _prepared(batches: Iterable[Callable[[], Pixels]], network: FeatureNetwork) -> Iterator[Any]:
    """Yield prepared batches in their order; a few are worked on ahead."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for load in batches:
                waiting.append(pool.submit(lambda load=load: network.prepare(load())))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
