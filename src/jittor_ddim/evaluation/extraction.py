"""From images to features: threads decode and resize while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jittor_ddim.errors import NotFiniteError
from jittor_ddim.evaluation.extractor import Extractor, Floats, Pixels
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator

_THREADS = min(8, os.cpu_count() or 1)


class Extracted(NamedTuple):
    """What is left of a set of images."""

    moments: Moments
    features: Floats | None  #: (N, D), where they were to be kept
    logits: Floats | None  #: (N, classes), where they were to be kept


def extract(
    batches: Iterable[Callable[[], Pixels]],
    extractor: Extractor,
    *,
    keep_features: bool = False,
    keep_logits: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> Extracted:
    """Return the moments of all images' features, and the features and logits that are kept.

    :param batches: functions that load one batch each, uint8 (B, H, W, 3)
    :param done: called after every batch with its number of images
    :raises UserError: if there are fewer than two images, or one cannot be loaded
    :raises NotFiniteError: at the first image whose features are not finite
    """
    accumulator = MomentsAccumulator()
    kept_features, kept_logits = [], []
    for prepared in _prepared(batches, extractor):
        features, logits = extractor.features(prepared)
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
                "feature network are broken; get them again (--inception)"
            )


def _prepared(batches: Iterable[Callable[[], Pixels]], extractor: Extractor) -> Iterator[Floats]:
    """Yield prepared batches in their order, a few of them prepared ahead."""
    waiting: deque[Future[Floats]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for load in batches:
                waiting.append(pool.submit(lambda load=load: extractor.prepare(load())))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
