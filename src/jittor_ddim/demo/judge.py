"""How many of a model's handwritten digits can be read, and how far they are from real ones."""

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out
from jittor_ddim.demo.results import Reading
from jittor_ddim.metrics.frechet import FrechetDistance
from jittor_ddim.metrics.moments import moments
from jittor_ddim.metrics.small import load_small

#: From this probability on a digit counts as surely read.
SURE = 0.9

Pixels = NDArray[np.uint8]


class Judge:
    """The classifier behind FD-small, which has learnt from the same digits as the network."""

    def __init__(self) -> None:
        """Compute the features of all real digits."""
        digits, labels = load_digits()
        self._classifier = load_small(*digits.shape[1:])
        features, _ = self._classify(digits[..., None])
        self._distance = FrechetDistance(moments(features))
        held_out = hold_out(len(digits), "test", "digits")
        #: What it makes of real digits that neither it nor the network has seen.
        self.real = self.judge(digits[held_out][..., None], labels[held_out])[0]

    def judge(self, pixels: Pixels, labels: NDArray[np.int64]) -> tuple[Reading, float]:
        """Return what can be read of images, and their FD-small against all 1,797 real digits.

        :param pixels: uint8 (N, 8, 8, 1)
        :param labels: (N,), the digits that they should be
        """
        features, probabilities = self._classify(pixels)
        right = probabilities.argmax(axis=1) == labels
        surely = right & (probabilities.max(axis=1) >= SURE)
        reading = Reading(len(pixels), float(right.mean()), float(surely.mean()))
        return reading, self._distance(moments(features))

    def _classify(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features (N, D) and probabilities (N, 10)."""
        prepared = self._classifier.prepare(pixels.repeat(3, axis=3))
        features, logits = self._classifier.features(prepared)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return features, powers / powers.sum(axis=1, keepdims=True)
