"""PyTorch: the network, the optimiser step, the device arrays and the device memory.

The modules of this package import torch when they are imported, so only :class:`PyTorchEngine`,
which starts it first, imports them.
"""

import logging
from pathlib import Path

from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Inception, Trainer, UNet, Weights
from jittor_ddim.engines.precision import check_precision
from jittor_ddim.engines.pytorch import runtime
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.inception import parameter_shapes

_log = logging.getLogger(__name__)


class PyTorchEngine:
    """See :class:`jittor_ddim.engines.base.Engine`."""

    name = "pytorch"

    def __init__(
        self, device: str = "auto", precision: str = "float32", compile: bool = False
    ) -> None:
        """Start PyTorch.

        :param device: ``auto``, ``cpu`` or ``cuda``
        :param precision: of convolutions and products, ``float32``, ``tf32`` (on a GPU, for all
            networks of the process) or ``bfloat16``; norms, sums and weights in training stay
            float32
        :param compile: whether torch.compile compiles a network at its first call; one in training
            only on a GPU
        :raises EngineError: if one of these is not to be had here
        """
        check_precision(precision)
        self._torch = runtime.start()
        self.device = runtime.choose_device(device)
        runtime.set_tf32(precision == "tf32", self.device)
        self.precision = precision
        on_cpu = self.device == "cpu"
        if precision == "bfloat16" and on_cpu and not runtime.cpu_multiplies_bfloat16():
            _log.warning(
                "bfloat16: this CPU has no instructions for it (AVX-512 BF16 or AMX); PyTorch "
                "does without, and takes several times as long as in float32"
            )
        self._compile = compile

    def unet(
        self,
        config: Config,
        weights: Weights | None = None,
        seed: int = 1234,
        compile: bool = True,
    ) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones."""
        from jittor_ddim.engines.pytorch.unet import UNet

        weights = fresh_weights(config, seed) if weights is None else weights
        return UNet(config, weights, self.device, self.precision, compile and self._compile)

    def trainer(self, config: Config, weights: Weights | None = None, seed: int = 1234) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones."""
        from jittor_ddim.engines.pytorch.trainer import Trainer

        weights = fresh_weights(config, seed) if weights is None else weights
        # On a CPU the compiler's bfloat16 gave wrong gradients: a loss of 441 instead of 394.
        compile = self._compile and self.device == "cuda"
        return Trainer(config, weights, seed, self.device, self.precision, compile)

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
