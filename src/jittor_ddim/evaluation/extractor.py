"""Which network's features a distance is of, checked before it starts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.checkpoints.inception_weights import obtain_inception, read_inception
from jittor_ddim.console.progress import downloading
from jittor_ddim.engines.base import Inception
from jittor_ddim.engines.choice import EngineChoice, check_options
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.extraction import FeatureNetwork
from jittor_ddim.metrics.identity import Identity
from jittor_ddim.metrics.inception import TAPS
from jittor_ddim.metrics.resize import MODES
from jittor_ddim.metrics.small import load_small
from jittor_ddim.version import versions

FEATURES = ("inception", "small")
_INCEPTION_BATCH = {"cpu": 32, "cuda": 128}
_SMALL_BATCH = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Extractor:
    """A network, ready, and what identifies its features.

    :ivar dimensions: D, how many features an image has
    :ivar computed_by: the engine, or ``numpy``
    :ivar versions: of what computes
    """

    network: FeatureNetwork
    identity: Identity
    batch_size: int
    dimensions: int
    computed_by: str
    versions: dict[str, str]

    def __call__(self, images: NDArray[np.uint8]) -> Floats:
        """Return the features (B, D) of uint8 images (B, H, W, 3)."""
        return self.network.features(self.network.prepare(images))[0]


@dataclass(frozen=True)
class ExtractorChoice:
    """The options ``--features``, ``--mode`` and ``--inception``."""

    features: str = "inception"
    mode: str = "clean"
    weights: Path | None = None

    @property
    def needs_engine(self) -> bool:
        """Whether a framework computes the features; small classifiers are NumPy's."""
        return self.features != "small"

    def check(self, size: tuple[int, int]) -> None:
        """Refuse what there is not, and download the network's weights if they are not here.

        :param size: of the images, height and width
        :raises UserError: naming the option and the remedy
        """
        check_options(("--features", self.features, FEATURES), ("--mode", self.mode, MODES))
        if self.features == "inception":
            read_inception(self._obtain())
        elif self.weights:
            raise UserError(f"--inception {self.weights}: --features small has no use for it")
        elif self.mode != MODES[0]:
            raise UserError(f"--mode {self.mode}: --features small resizes nothing; leave it out")
        else:
            load_small(*size)

    def load(self, engine: EngineChoice, size: tuple[int, int]) -> Extractor:
        """Return the network for images of a size; small classifiers need no engine.

        :param size: height and width
        :raises UserError: if there is no small classifier for the size
        """
        if self.features == "small":
            small = load_small(*size)
            identity = Identity(f"small-{small.name}", None, small.sha256, True)
            return Extractor(small, identity, _SMALL_BATCH, len(small.head), "numpy", versions())
        path = self._obtain()
        weights = read_inception(path)
        identity = Identity("inception", self.mode, weights.sha256, weights.published)
        started = engine.start()
        network = _Features(started.inception(path, self.mode))
        batch_size = _INCEPTION_BATCH[started.device]
        used = {**versions(), **started.versions()}
        return Extractor(network, identity, batch_size, TAPS["2048"], started.name, used)

    def _obtain(self) -> Path:
        with downloading("the Inception network") as received:
            return obtain_inception(self.weights, received)


@dataclass(frozen=True)
class _Features:
    """The features that FID is of, and the logits that the inception score is of."""

    inception: Inception

    def prepare(self, images: NDArray[np.uint8]) -> Floats:
        return self.inception.prepare(images)

    def features(self, prepared: Floats) -> tuple[Floats, Floats]:
        found = self.inception.features(prepared)
        return found["2048"], found["logits_unbiased"]
