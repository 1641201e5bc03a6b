"""InceptionV3: walks the layers of :mod:`jittor_ddim.metrics.inception` in Jittor."""

from collections.abc import Mapping, Sequence

import jittor as jt
import numpy as np
from jittor import Var, nn
from numpy.typing import NDArray

from jittor_ddim.metrics.inception import LAYERS, TAPS, Branches, Conv, Layer, Pool, Tap, fold
from jittor_ddim.metrics.resize import check_mode, to_input


class Inception:
    """The network in evaluation mode; see :class:`jittor_ddim.engines.base.Inception`."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], resize: str) -> None:
        check_mode(resize)
        self._resize = resize
        self._convolutions = {
            name: tuple(jt.array(array).stop_grad() for array in arrays)
            for name, arrays in fold(weights).items()
        }
        self._fc, self._fc_bias = weights["fc.weight"].T, weights["fc.bias"]

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return every feature of uint8 images (B, H, W, 3)."""
        return self.features(self.prepare(images))

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 images (B, H, W, 3) as input (B, 3, 299, 299); threads may call it."""
        return to_input(images, self._resize)

    def features(self, prepared: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return every feature (B, D) by its name."""
        with jt.no_grad():
            taps: dict[str, Var] = {}
            self._walk(jt.array(prepared).stop_grad(), LAYERS, taps)
            found = {name: tap.numpy() for name, tap in taps.items()}
        found["logits_unbiased"] = found["2048"] @ self._fc
        found["logits"] = found["logits_unbiased"] + self._fc_bias
        return {name: found[name] for name in TAPS}

    def _walk(self, x: Var, layers: Sequence[Layer], taps: dict[str, Var]) -> Var:
        for layer in layers:
            if isinstance(layer, Conv):
                kernel, bias = self._convolutions[layer.name]
                x = nn.conv2d(x, kernel, bias, layer.stride, layer.padding)
                x = nn.relu(x)
            elif isinstance(layer, Pool):
                x = _pool(x, layer)
            elif isinstance(layer, Branches):
                x = jt.concat([self._walk(x, way, taps) for way in layer.ways], dim=1)
            elif isinstance(layer, Tap):
                taps[layer.feature] = x.mean(dims=(2, 3))
        return x


def _pool(x: Var, pool: Pool) -> Var:
    if pool.kind == "max":
        return nn.Pool(3, pool.stride, pool.padding)(x)
    # Jittor's usual average counts the padding whatever it is told; that of ceil_mode does not,
    # and at stride 1 the sizes are the same.
    mean = nn.Pool(3, pool.stride, pool.padding, None, None, True, False, "mean")
    return mean(x)
