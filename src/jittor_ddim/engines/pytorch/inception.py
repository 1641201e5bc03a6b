"""InceptionV3: walks the layers of :mod:`jittor_ddim.metrics.inception` in PyTorch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jittor_ddim.engines import inception
from jittor_ddim.engines.pytorch.operations import layout
from jittor_ddim.engines.pytorch.runtime import without_tf32
from jittor_ddim.metrics.inception import LAYERS, Branches, Conv, Layer, Pool, Tap, fold


class Inception(inception.Inception):
    """See :class:`jittor_ddim.engines.inception.Inception`."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], resize: str, device: str
    ) -> None:
        super().__init__(weights, resize)
        self._device, self._layout = device, layout(device, "float32")
        self._convolutions = {
            name: (self._place(kernel), torch.from_numpy(bias).to(device))
            for name, (kernel, bias) in fold(weights).items()
        }

    def _walk_layers(self, prepared: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        # A distance must not depend on the precision in which its images were made.
        with torch.no_grad(), without_tf32():
            taps: dict[str, Tensor] = {}
            self._walk(self._place(prepared), LAYERS, taps)
            return {name: tap.cpu().numpy() for name, tap in taps.items()}

    def _place(self, array: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
        return tensor.to(self._device).to(memory_format=self._layout)

    def _walk(self, x: Tensor, layers: Sequence[Layer], taps: dict[str, Tensor]) -> Tensor:
        for layer in layers:
            if isinstance(layer, Conv):
                kernel, bias = self._convolutions[layer.name]
                x = functional.conv2d(x, kernel, bias, layer.stride, layer.padding)
                x = functional.relu(x)
            elif isinstance(layer, Pool):
                x = _pool(x, layer)
            elif isinstance(layer, Branches):
                x = torch.cat([self._walk(x, way, taps) for way in layer.ways], dim=1)
            elif isinstance(layer, Tap):
                taps[layer.feature] = x.mean(dim=(2, 3))
        return x


def _pool(x: Tensor, pool: Pool) -> Tensor:
    if pool.kind == "max":
        return functional.max_pool2d(x, 3, pool.stride, pool.padding)
    return functional.avg_pool2d(x, 3, pool.stride, pool.padding, count_include_pad=False)
