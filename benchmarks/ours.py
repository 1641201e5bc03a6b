"""An engine of this project, through its public interface."""

from functools import lru_cache
from typing import Any

import numpy as np

import jittor_ddim as jd
from benchmarks.entrants import Entrant
from jittor_ddim.cli.parsing import read_config
from jittor_ddim.config import Config


class Ours:
    """Samples and trains a config's network, ``cifar10.yml`` or ``cifar10.yml KEY=VALUE …``."""

    def __init__(self, entrant: Entrant, device: str) -> None:
        """Start the engine."""
        self._engine = jd.load_engine(entrant.engine, device, entrant.precision, entrant.compiled)
        self._unet = lru_cache(maxsize=1)(lambda config: self._engine.unet(_read(config)))
        self._trainer = lru_cache(maxsize=1)(lambda config: self._engine.trainer(_read(config)))

    def environment(self) -> dict[str, Any]:
        """Return versions and device."""
        return {"device": self._engine.device, **self._engine.versions()}

    def sample(self, batch: int, calls: int, eta: float, config: str) -> None:
        """Sample a batch with so many network calls."""
        unet, settings = self._unet(config), _read(config)
        x_T = jd.initial_noise(settings, indices=range(batch))
        jd.sample(unet, settings, x_T, timesteps=calls, eta=eta)

    def make_batch(self, batch: int, config: str) -> tuple[Any, ...]:
        """Return x0, t and eps, which a run's loader prepares ahead."""
        random = np.random.default_rng(0)
        shape = (batch, *_read(config).sample_shape)
        x0, eps = (random.standard_normal(shape, np.float32) for _ in range(2))
        return x0, random.integers(0, 1000, batch), eps

    def train(self, x0: Any, t: Any, eps: Any, config: str) -> None:
        """Take a training step: loss, gradients, clipping, Adam, moving average."""
        self._trainer(config).step(x0, t, eps)

    def release(self) -> None:
        """Forget the networks, and give back the device's memory."""
        self._unet.cache_clear()
        self._trainer.cache_clear()
        self._engine.reset_peak_memory()

    def device_memory(self) -> int | None:
        """Return the most bytes of the device's memory since the last release."""
        memory = self._engine.memory()
        return memory.peak_reserved if memory else None


def _read(config: str) -> Config:
    name, *assignments = config.split()
    return read_config(name, assignments)
