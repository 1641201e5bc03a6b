"""PyTorch: the network, the optimiser step, the device arrays and the device memory.

The modules of this package import torch when they are imported, so only :class:`PyTorchEngine`,
which starts it first, imports them.
"""

from pathlib import Path

from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Inception, Trainer, UNet, Weights
from jittor_ddim.engines.pytorch import runtime
from jittor_ddim.errors import EngineError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.inception import parameter_shapes


class PyTorchEngine:
    """See :class:`jittor_ddim.engines.base.Engine`."""

    name = "pytorch"

    def __init__(
        self, device: str = "auto", precision: str = "float32", compile: bool = False
    ) -> None:
        """Start PyTorch.

        :param device: ``auto``, ``cpu`` or ``cuda``
        :param precision: ``float32``; other precisions are not available in this engine
        :param compile: must be False: this engine runs eagerly
        :raises EngineError: if one of these is not to be had here
        """
        if precision != "float32":
            raise EngineError(
                f"precision {precision}: the pytorch engine computes in float32 only"
            )
        if compile:
            raise EngineError("compile: the pytorch engine runs eagerly; leave the option out")
        self._torch = runtime.start()
        self.device = runtime.choose_device(device)
        self.precision = precision

    def unet(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones."""
        from jittor_ddim.engines.pytorch.unet import UNet

        weights = fresh_weights(config, seed) if weights is None else weights
        return UNet(config, weights, self.device)

    def trainer(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones."""
        from jittor_ddim.engines.pytorch.trainer import Trainer

        weights = fresh_weights(config, seed) if weights is None else weights
        return Trainer(config, weights, seed, self.device)

    def inception_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the Inception network's parameters by their published names."""
        return parameter_shapes()

    def inception(self, weights: Path | str, resize: str = "clean") -> Inception:
        """Return the Inception network with the weights of a file."""
        from jittor_ddim.engines.pytorch.inception import Inception

        return Inception(read_inception(weights).arrays, resize, self.device)

    def versions(self) -> dict[str, str]:
        """Return the version of PyTorch."""
        return {"torch": self._torch.__version__}

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory PyTorch takes; None on a CPU."""
        if self.device == "cpu":
            return None
        cuda = self._torch.cuda
        return DeviceMemory(
            cuda.memory_reserved(), cuda.max_memory_reserved(), cuda.max_memory_allocated()
        )

    def reset_peak_memory(self) -> None:
        """Give back what is not used, and let the peaks count from now on."""
        if self.device == "cuda":
            self._torch.cuda.empty_cache()
            self._torch.cuda.reset_peak_memory_stats()
