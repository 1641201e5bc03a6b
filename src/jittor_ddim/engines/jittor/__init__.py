"""Jittor: the network, the optimiser step, the device arrays and the device memory.

The modules of this package import jittor when they are imported, so only :class:`JittorEngine`,
which starts it first, imports them.
"""

from pathlib import Path

from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Inception, Trainer, UNet, Weights
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.errors import EngineError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.inception import parameter_shapes


class JittorEngine:
    """See :class:`jittor_ddim.engines.base.Engine`."""

    name = "jittor"

    def __init__(
        self, device: str = "auto", precision: str = "float32", compile: bool = False
    ) -> None:
        """Start Jittor.

        :param device: ``auto``, ``cpu`` or ``cuda``
        :param precision: ``float32``; other precisions are not available in this engine
        :param compile: must be False: Jittor compiles every graph anyway
        :raises EngineError: if one of these is not to be had here
        """
        if precision != "float32":
            raise EngineError(f"precision {precision}: the jittor engine has float32 only")
        if compile:
            raise EngineError("compile: Jittor compiles by itself; leave the option out")
        self.device = runtime.choose_device(device)
        self.precision = precision
        self._jittor = runtime.start(self.device)

    def unet(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones."""
        from jittor_ddim.engines.jittor.unet import UNet

        return UNet(config, fresh_weights(config, seed) if weights is None else weights)

    def trainer(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones."""
        from jittor_ddim.engines.jittor.trainer import Trainer

        return Trainer(config, fresh_weights(config, seed) if weights is None else weights, seed)

    def inception_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the Inception network's parameters by their published names."""
        return parameter_shapes()

    def inception(self, weights: Path | str, resize: str = "clean") -> Inception:
        """Return the Inception network with the weights of a file."""
        from jittor_ddim.engines.jittor.inception import Inception

        return Inception(read_inception(weights).arrays, resize)

    def versions(self) -> dict[str, str]:
        """Return the version of Jittor."""
        return {"jittor": self._jittor.__version__}

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory Jittor takes; None on a CPU."""
        if self.device == "cpu":
            return None
        reserved = self._jittor.get_mem_info().total_cuda_used
        return DeviceMemory(reserved, reserved, None)

    def reset_peak_memory(self) -> None:
        """Give back what is not used; Jittor keeps no peaks, but its pool grows to them."""
        if self.device == "cuda":
            self._jittor.gc()
