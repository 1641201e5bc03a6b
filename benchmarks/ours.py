"""An engine of this project, through its public interface."""

from functools import cached_property
from typing import Any

import numpy as np

import jittor_ddim as jd
from benchmarks.contenders import Contender


class Ours:
    """Samples and trains the network of configs/cifar10.yml."""

    def __init__(self, contender: Contender, device: str) -> None:
        """Start the engine."""
        self._engine = jd.load_engine(
            contender.engine, device, contender.precision, contender.compiled
        )
        self._config = jd.load_config("cifar10.yml")
        self._random = np.random.default_rng(0)

    def environment(self) -> dict[str, Any]:
        """Return versions and device."""
        return {"device": self._engine.device, **self._engine.versions()}

    @cached_property
    def _unet(self) -> Any:
        return self._engine.unet(self._config)

    @cached_property
    def _trainer(self) -> Any:
        return self._engine.trainer(self._config)

    def sample(self, batch: int, calls: int, eta: float = 0.0) -> None:
        """Sample a batch with so many network calls."""
        x_T = jd.initial_noise(self._config, indices=range(batch))
        jd.sample(self._unet, self._config, x_T, timesteps=calls, eta=eta)

    def train(self, batch: int) -> None:
        """Take a training step: loss, gradients, clipping, Adam, moving average."""
        shape = (batch, 3, 32, 32)
        x0, eps = (self._random.standard_normal(shape, np.float32) for _ in range(2))
        self._trainer.step(x0, self._random.integers(0, 1000, batch), eps)

    def release(self) -> None:
        """Forget the networks, and give back the device's memory."""
        self.__dict__.pop("_unet", None)
        self.__dict__.pop("_trainer", None)
        self._engine.reset_peak_memory()

    def device_memory(self) -> int | None:
        """Return the most bytes of the device's memory since the last release."""
        memory = self._engine.memory()
        return memory.peak_reserved if memory else None
