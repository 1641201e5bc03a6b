"""InceptionV3: walks the layers of :mod:`jittor_ddim.metrics.inception` in Jittor."""

from collections.abc import Mapping, Sequence

import jittor as jt
import numpy as np
from jittor import Var, nn
from numpy.typing import NDArray

from jittor_ddim.engines import inception
from jittor_ddim.metrics.inception import LAYERS, Branches, Conv, Layer, Pool, Tap, fold


class Inception(inception.Inception):
    """See :class:`jittor_ddim.engines.inception.Inception`."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], resize: str) -> None:
        super().__init__(weights, resize)
        self._convolutions = {
            name: tuple(jt.array(array).stop_grad() for array in arrays)
            for name, arrays in fold(weights).items()
        }

    def _walk_layers(self, prepared: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with jt.no_grad():
            taps: dict[str, Var] = {}
            self._walk(jt.array(prepared).stop_grad(), LAYERS, taps)
            return {name: tap.numpy() for name, tap in taps.items()}

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
