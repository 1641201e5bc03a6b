"""InceptionV3: walks the layers of :mod:`jittor_ddim.metrics.inception` in PyTorch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jittor_ddim.engines.pytorch.layout import layout
from jittor_ddim.engines.pytorch.runtime import without_tf32
from jittor_ddim.engines.pytorch.unet import from_numpy
from jittor_ddim.metrics.inception import LAYERS, TAPS, Branches, Conv, Layer, Pool, Tap, fold
from jittor_ddim.metrics.resize import check_mode, to_input


class Inception:
    """The network in evaluation mode; see :class:`jittor_ddim.engines.base.Inception`."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], resize: str, device: str
    ) -> None:
        check_mode(resize)
        self._resize, self._device, self._layout = resize, device, layout(device, "float32")
        self._convolutions = {
            name: (
                from_numpy(kernel, device).to(memory_format=self._layout),
                from_numpy(bias, device),
            )
            for name, (kernel, bias) in fold(weights).items()
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
        # A distance must not depend on the precision in which its images were made.
        with torch.no_grad(), without_tf32():
            taps: dict[str, Tensor] = {}
            x = from_numpy(prepared, self._device).to(memory_format=self._layout)
            self._walk(x, LAYERS, taps)
            found = {name: tap.cpu().numpy() for name, tap in taps.items()}
        found["logits_unbiased"] = found["2048"] @ self._fc
        found["logits"] = found["logits_unbiased"] + self._fc_bias
        return {name: found[name] for name in TAPS}

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
