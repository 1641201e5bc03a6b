"""Features: the network that makes them, and a whole set of images on its way through it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from jittor_ddim.checkpoints.inception_weights import obtain_inception, read_inception
from jittor_ddim.console.progress import downloading
from jittor_ddim.engines.choice import EngineChoice, check_options
from jittor_ddim.errors import NotFiniteError, UserError
from jittor_ddim.evaluation.identity import Identity
from jittor_ddim.metrics.inception import TAPS
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator
from jittor_ddim.metrics.resize import MODES
from jittor_ddim.metrics.small import load_small
from jittor_ddim.version import versions

FEATURES = ("inception", "small")
_INCEPTION_BATCH = {"cpu": 32, "cuda": 128}
_SMALL_BATCH = 256
_THREADS = min(8, os.cpu_count() or 1)

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Extractor:
    """A loaded network, and what identifies its features.

    :ivar prepare: uint8 images (B, H, W, 3) -> the network's input; threads may call it at once
    :ivar features: prepared images -> features (B, D) and logits (B, classes)
    :ivar dimensions: D
    :ivar computed_by: the engine, or ``numpy``
    :ivar versions: of what computes
    """

    prepare: Callable[[Pixels], Floats]
    features: Callable[[Floats], tuple[Floats, Floats]]
    identity: Identity
    batch_size: int
    dimensions: int
    computed_by: str
    versions: dict[str, str]


@dataclass(frozen=True)
class ExtractorChoice:
    """The settings features, mode and inception: how images become features."""

    features: str = "inception"
    mode: str = "clean"
    weights: Path | None = None

    @property
    def needs_engine(self) -> bool:
        """Whether a framework computes the features; the small classifiers run in NumPy."""
        return self.features != "small"

    def check(self, size: tuple[int, int]) -> None:
        """Refuse unknown choices, and download the network's weights unless they are here.

        :param size: of the images, height and width
        :raises UserError: naming the option and the remedy
        """
        check_options(("features", self.features, FEATURES), ("mode", self.mode, MODES))
        if self.needs_engine:
            read_inception(self._obtain())
        elif self.weights:
            raise UserError(
                f"`inception` {self.weights}: `features` small does not use it; leave it out"
            )
        elif self.mode != MODES[0]:
            raise UserError(f"`mode` {self.mode}: `features` small resizes nothing; leave it out")
        else:
            load_small(*size)

    def load(self, engine: EngineChoice, size: tuple[int, int]) -> Extractor:
        """Return the network for images of a size; small classifiers need no engine.

        :param size: height and width
        :raises UserError: if there is no small classifier for the size
        """
        if not self.needs_engine:
            small = load_small(*size)
            identity = Identity(f"small-{small.name}", None, small.sha256, True)
            D = len(small.head)

            def small_features(prepared: Floats) -> tuple[Floats, Floats]:
                # Products of several threads are rounded in another way for each number of them.
                with threadpool_limits(1, "blas"):
                    return small.features(prepared)

            return Extractor(
                small.prepare, small_features, identity, _SMALL_BATCH, D, "numpy", versions()
            )
        path = self._obtain()
        weights = read_inception(path)
        identity = Identity("inception", self.mode, weights.sha256, weights.published)
        started = engine.start()
        network = started.inception(path, self.mode)

        def features(prepared: Floats) -> tuple[Floats, Floats]:
            found = network.features(prepared)
            return found["2048"], found["logits_unbiased"]

        return Extractor(
            network.prepare, features, identity, _INCEPTION_BATCH[started.device], TAPS["2048"],
            started.name, {**versions(), **started.versions()},
        )  # fmt: skip

    def _obtain(self) -> Path:
        with downloading("the Inception network") as received:
            return obtain_inception(self.weights, received)


class Extracted(NamedTuple):
    """What is left of a set of images."""

    sums: MomentsAccumulator
    features: Floats | None  #: (N, D), where they were to be kept
    logits: Floats | None  #: (N, classes), where they were to be kept

    @property
    def moments(self) -> Moments:
        """Of all images.

        :raises UserError: if there are fewer than two
        """
        return self.sums.moments()


def extract(
    batches: Iterable[Callable[[], Pixels]],
    extractor: Extractor,
    *,
    keep_features: bool = False,
    keep_logits: bool = False,
    done: Callable[[int], None] = lambda count: None,
    first: int = 0,
) -> Extracted:
    """Return the moments of all images' features, and the features and logits that are kept.

    :param batches: functions that load one batch each, uint8 (B, H, W, 3)
    :param done: called after every batch with its number of images
    :param first: the number of the first image, for messages
    :raises UserError: if an image cannot be loaded
    :raises NotFiniteError: at the first image whose features are not finite
    """
    accumulator = MomentsAccumulator()
    kept_features, kept_logits = [], []
    for prepared in _prepared(batches, extractor):
        features, logits = extractor.features(prepared)
        _check_finite(features, logits, first + accumulator.count)
        accumulator.add(features)
        if keep_features:
            kept_features.append(features)
        if keep_logits:
            kept_logits.append(logits)
        done(len(features))
    return Extracted(
        accumulator,
        np.concatenate(kept_features) if kept_features else None,
        np.concatenate(kept_logits) if kept_logits else None,
    )


def _check_finite(features: Floats, logits: Floats, before: int) -> None:
    """:param before: how many images came before"""
    for name, array in (("features", features), ("logits", logits)):
        rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(rows):
            raise NotFiniteError(
                f"the {name} of image {before + rows[0]} are not finite: the weights of the "
                "feature network are broken; get them again (`inception`)"
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
