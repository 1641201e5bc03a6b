"""Jittor: the network, the optimiser step, the device arrays and the device memory.

The modules of this package import jittor when they are imported, so only :class:`JittorEngine`,
which starts it first, imports them.
"""

import logging
from pathlib import Path

from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Inception, Trainer, UNet, Weights
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.engines.precision import check_precision
from jittor_ddim.errors import EngineError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.inception import parameter_shapes

_log = logging.getLogger(__name__)


class JittorEngine:
    """See :class:`jittor_ddim.engines.base.Engine`."""

    name = "jittor"

    def __init__(
        self, device: str = "auto", precision: str = "float32", compile: bool = False
    ) -> None:
        """Start Jittor.

        :param device: ``auto``, ``cpu`` or ``cuda``
        :param precision: of convolutions, ``float32`` or ``bfloat16``; everything else stays
            float32, and so do they where the CPU has no instructions for it, or on a GPU
        :param compile: must be False: Jittor compiles every graph anyway
        :raises EngineError: if one of these is not to be had here
        """
        check_precision(precision)
        if precision == "tf32":
            raise EngineError("precision tf32: Jittor has no such choice; use float32")
        if compile:
            raise EngineError("compile: Jittor compiles by itself; leave the option out")
        self.device = runtime.choose_device(device)
        self._jittor = runtime.start(self.device)
        self.precision = self._to_be_had(precision)

    def _to_be_had(self, precision: str) -> str:
        from jittor_ddim.engines.jittor.operations import multiplies_bfloat16

        if precision == "bfloat16" and not multiplies_bfloat16():
            _log.warning(
                "bfloat16: Jittor computes in it only by our kernels on CPUs with AVX-512 BF16; "
                "this is float32"
            )
            return "float32"
        return precision

    def unet(
        self,
        config: Config,
        weights: Weights | None = None,
        seed: int = 1234,
        compile: bool = True,
    ) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones.

        Jittor compiles every graph: ``compile`` changes nothing.
        """
        from jittor_ddim.engines.jittor.unet import UNet

        weights = fresh_weights(config, seed) if weights is None else weights
        return UNet(config, weights, self.precision)

    def trainer(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones."""
        from jittor_ddim.engines.jittor.trainer import Trainer

        weights = fresh_weights(config, seed) if weights is None else weights
        return Trainer(config, weights, seed, self.precision)

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
