"""What an engine is: the four things in which Jittor and PyTorch truly differ.

The network, the optimiser step, the device arrays and the measuring of device memory. Everything
else in this project is written once, against these protocols, with NumPy arrays at the edges.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config

#: Parameters by their official names, float32.
Weights = Mapping[str, NDArray[np.float32]]


class DeviceMemory(NamedTuple):
    """Bytes of a device's memory."""

    reserved: int  # what the framework holds, used or not
    peak_reserved: int  # the most since the last reset; now, where it does not tell
    peak_allocated: int | None  # the most that its arrays used; None where it does not tell


class UNet(Protocol):
    """The network in evaluation mode."""

    def load(self, weights: Weights) -> None:
        """Take these weights.

        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters by their official names, in the official order."""
        ...

    def predict(self, x_t: NDArray[np.float32], t: NDArray[Any]) -> NDArray[np.float32]:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,), int or float."""
        ...

    def to_device(self, array: NDArray[np.float32]) -> Any:
        """Return the array as one of the engine's own, on its device."""
        ...

    def to_host(self, array: Any) -> NDArray[np.float32]:
        """Return one of the engine's arrays as NumPy's."""
        ...

    def predict_on_device(self, x_t: Any, t: int) -> Any:
        """Return eps_pred for a batch at one timestep, both as the engine's arrays, computed."""
        ...


class Trainer(Protocol):
    """The network in training: loss, gradients, clipping, optimiser and EMA in one step."""

    grad_norm: float  #: of the last step, before clipping

    @property
    def steps_done(self) -> int:
        """How many optimiser steps were taken."""
        ...

    def step(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Take one optimiser step and return the loss before it.

        The loss is the official one: sum over C, H, W of (eps - eps_pred)^2, mean over the batch.
        """
        ...

    def loss(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Return the loss without dropout and without learning from it."""
        ...

    def predict(self, x_t: NDArray[np.float32], t: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return eps_pred of the current weights, without dropout."""
        ...

    def phases(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> dict[str, float]:
        """Take one optimiser step, without micro-batches, and return the seconds of its parts.

        The parts are ``forward``, ``backward`` and ``optimizer`` (with clipping and the moving
        average); each is waited for, which a step without a stopwatch need not do.
        """
        ...

    def inspect(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Return every layer's output and every parameter's gradient, and learn nothing.

        Outputs are named as in :func:`jittor_ddim.architecture.layers` and stand in the order of
        execution, an attention block after its parts. Gradients are the loss's, by parameter.
        """
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the current weights."""
        ...

    def ema_weights(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the moving average of the weights, or None where the config has it off."""
        ...

    def optimizer_state(self) -> dict[str, NDArray[np.float32]]:
        """Return the optimiser's arrays by ``kind/parameter``, for instance ``exp_avg/…``."""
        ...

    def restore(
        self,
        ema_weights: Weights | None,
        optimizer_state: Mapping[str, NDArray[np.float32]],
        steps_done: int,
    ) -> None:
        """Continue where another trainer stopped; the weights were given at construction.

        :raises WeightsError: if the arrays do not fit
        """
        ...


class Inception(Protocol):
    """The Inception network, ready to measure images."""

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return every feature of uint8 images (B, H, W, 3), an array (B, D) by its name.

        The names are those of :data:`jittor_ddim.metrics.inception.TAPS`: ``64``, ``192``,
        ``768``, ``2048``, ``logits_unbiased`` and ``logits``.
        """
        ...

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the images as input (B, 3, 299, 299); threads may do so at once."""
        ...

    def features(self, prepared: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return every feature of prepared images."""
        ...


class Engine(Protocol):
    """A framework on a device."""

    name: str  #: "jittor" or "pytorch"
    device: str  #: "cpu" or "cuda"
    precision: str  #: "float32", "tf32" or "bfloat16"

    def unet(
        self,
        config: Config,
        weights: Weights | None = None,
        seed: int = 1234,
        compile: bool = True,
    ) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones.

        :param compile: False: not even if this engine compiles networks, for a few images do not
            repay it
        """
        ...

    def trainer(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones."""
        ...

    def inception_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the Inception network's parameters by their published names."""
        ...

    def inception(self, weights: Path | str, resize: str = "clean") -> Inception:
        """Return the Inception network with the weights of a file.

        :param resize: ``clean``, ``legacy_pytorch``, ``pytorch_fid`` or ``tf1``; see
            :mod:`jittor_ddim.metrics.resize`
        :raises UserError: if there is no such way
        :raises WeightsError: if the file's names or shapes are others
        :raises CheckpointError: if it cannot be read, or has the published name and another hash
        """
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of the framework and what it computes with."""
        ...

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory the framework takes; None on a CPU."""
        ...

    def reset_peak_memory(self) -> None:
        """Give back what is not used, and let the peaks count from now on."""
        ...
