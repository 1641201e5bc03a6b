"""An engine: what is known of it, and a framework on a device, with networks and trainers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.config import Config
from jittor_ddim.doctor import Finding
from jittor_ddim.engines.inception import Inception
from jittor_ddim.engines.network import UNet
from jittor_ddim.engines.primitives import DeviceMemory, Primitives, Weights
from jittor_ddim.engines.trainer import Trainer
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.metrics.inception import parameter_shapes

__all__ = ["Descriptor", "DeviceMemory", "Engine", "Inception", "Trainer", "UNet", "Weights"]


class Engine(Primitives):
    """What an engine's primitives make possible."""

    def unet(
        self,
        config: Config,
        weights: Weights | None = None,
        seed: int = 1234,
        compile: bool = True,
    ) -> UNet:
        """Return the network in evaluation mode with these weights, or with fresh ones.

        :param compile: False: do not compile it even if the engine compiles networks, as a few
            images do not repay it
        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        weights = fresh_weights(config, seed) if weights is None else weights
        return UNet(self, config, weights, compile)

    def trainer(
        self,
        config: Config,
        weights: Weights | None = None,
        seed: int = 1234,
        last_step: int | None = None,
    ) -> Trainer:
        """Return a trainer that starts from these weights, or from fresh ones.

        :param last_step: where a decay of the learning rate ends; None: at ``training.n_iters``
        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        weights = fresh_weights(config, seed) if weights is None else weights
        return Trainer(self, config, weights, seed, last_step or config.training.n_iters)

    def inception(self, weights: Path | str, resize: str = "clean") -> Inception:
        """Return the Inception network with the weights of a file.

        :param resize: ``clean``, ``legacy_pytorch``, ``pytorch_fid`` or ``tf1``; see
            :mod:`jittor_ddim.metrics.resize`
        :raises UserError: if ``resize`` is unknown
        :raises WeightsError: if the file's names or shapes are others
        :raises CheckpointError: if it cannot be read, or has the published name and another hash
        """
        return self.build_inception(read_inception(weights).arrays, resize)

    def inception_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the Inception network's parameters by their published names."""
        return parameter_shapes()


@dataclass(frozen=True)
class Descriptor:
    """An engine by its name; ``engines/NAME/__init__.py`` has one as ``DESCRIPTOR``."""

    name: str
    title: str  #: as people write it
    module: str  #: the Python module of the framework
    install: str  #: what to do where it is not installed
    compiles: bool  #: whether ``compile`` is a choice
    #: Start the framework in this process, given device, precision and whether to compile.
    start: Callable[[str, str, bool], Engine]
    #: The checks of ``ddim doctor``, given a device.
    check: Callable[[str], Iterator[Finding]]
    #: What starts several processes of it that train together, by how it is typed.
    launchers: Mapping[str, str] = field(default_factory=dict)
