"""The Inception network of :mod:`jittor_ddim.metrics.inception`, apart from its convolutions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.metrics.inception import TAPS
from jittor_ddim.metrics.resize import check_mode, to_input

Floats = NDArray[np.float32]


class Inception(ABC):
    """The Inception network, ready to measure images; an engine's subclass walks the layers."""

    def __init__(self, weights: Mapping[str, Floats], resize: str) -> None:
        """Take the weights; see :meth:`jittor_ddim.engines.base.Engine.inception`."""
        check_mode(resize)
        self._resize = resize
        self._fc, self._fc_bias = weights["fc.weight"].T, weights["fc.bias"]

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, Floats]:
        """Return every feature of uint8 images (B, H, W, 3), an array (B, D) by its name.

        The names are those of :data:`jittor_ddim.metrics.inception.TAPS`: ``64``, ``192``,
        ``768``, ``2048``, ``logits_unbiased`` and ``logits``.
        """
        return self.features(self.prepare(images))

    def prepare(self, images: NDArray[np.uint8]) -> Floats:
        """Return the images as input (B, 3, 299, 299); several threads may call it."""
        return to_input(images, self._resize)

    def features(self, prepared: Floats) -> dict[str, Floats]:
        """Return every feature of prepared images."""
        found = self._walk_layers(prepared)
        found["logits_unbiased"] = found["2048"] @ self._fc
        found["logits"] = found["logits_unbiased"] + self._fc_bias
        return {name: found[name] for name in TAPS}

    @abstractmethod
    def _walk_layers(self, prepared: Floats) -> dict[str, Floats]:
        """Return what the taps in the layers give, in true float32."""
