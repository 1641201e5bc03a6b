"""A small engine in NumPy, so that what is written once for all engines is tested in seconds.

Its network has the parameters of the config's U-Net, but computes
eps_pred = gain x_t + bias + t / 1000 with gain the mean of ``norm_out.weight`` and bias
``conv_out.bias`` (one a channel): it learns, it depends on all its inputs, and an image depends on
nothing but itself, to the bit.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jittor_ddim.architecture import check_weights, layers, parameter_shapes
from jittor_ddim.averaging import rate
from jittor_ddim.config import Config
from jittor_ddim.diffusion.noise import Stream, generator
from jittor_ddim.diffusion.parametrization import diffuse
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.initialization import fresh_weights

GAIN, BIAS = "norm_out.weight", "conv_out.bias"
_MOMENTUM = 0.9

Arrays = dict[str, np.ndarray]


def affine(weights: Arrays, x_t: np.ndarray, t: Any) -> np.ndarray:
    """Return eps_pred, float32."""
    time = np.asarray(t, np.float32).reshape(-1, 1, 1, 1) / np.float32(1000)
    with np.errstate(all="ignore"):  # diverging is one of the things to test
        return weights[GAIN].mean() * x_t + weights[BIAS].reshape(1, -1, 1, 1) + time


def copy(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


class FakeUNet:
    """See :class:`jittor_ddim.engines.base.UNet`."""

    def __init__(self, engine: "FakeEngine", config: Config, weights: Arrays) -> None:
        self._engine = engine
        self._shapes = parameter_shapes(config)
        self._weights = copy(weights)

    def load(self, weights: Arrays) -> None:
        check_weights(weights, self._shapes)
        self._weights = copy(weights)

    def weights(self) -> Arrays:
        return copy(self._weights)

    def predict(self, x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        self._engine.calls.append((len(x_t), int(np.ravel(t)[0])))
        return self._engine.denoiser(self._weights, x_t, t)

    def to_device(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float32)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def predict_on_device(self, x_t: np.ndarray, t: int) -> np.ndarray:
        return self.predict(x_t, np.full(len(x_t), t))


class FakeTrainer:
    """SGD with momentum on the two parameters that count; dropout as the engines key it."""

    def __init__(
        self, engine: "FakeEngine", config: Config, weights: Arrays | None, seed: int
    ) -> None:
        self._engine, self._config, self._seed = engine, config, seed
        self._alpha_bar = Schedule.from_config(config.diffusion).alpha_bar
        self._weights = copy(fresh_weights(config, seed) if weights is None else weights)
        check_weights(self._weights, parameter_shapes(config))
        self._ema = copy(self._weights) if config.model.ema else None
        self._momentum = {name: np.zeros_like(self._weights[name]) for name in (GAIN, BIAS)}
        self.grad_norm = float("nan")
        self.steps_done = 0

    def step(self, x0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> float:
        self._engine.before_step(self.steps_done + 1)
        keep = 1 - self._config.model.dropout
        rng = generator(self._seed, Stream.DROPOUT, self.steps_done)
        with np.errstate(all="ignore"):
            x_t, difference = self._differences(x0, t, eps, rng.random(x0.shape) < keep)
            loss = np.sum(difference**2) / np.float32(len(x0))
            share = 1 / (len(x0) * len(self._weights[GAIN]))
            gain = np.full_like(self._weights[GAIN], -2 * np.sum(difference * x_t) * share)
            gradients = {GAIN: gain, BIAS: -2 * difference.sum(axis=(0, 2, 3)) / len(x0)}
            self.grad_norm = float(np.sqrt(sum(np.sum(g**2) for g in gradients.values())))
            for name, gradient in gradients.items():
                self._momentum[name] = _MOMENTUM * self._momentum[name] + gradient
                lr = np.float32(self._config.optim.lr)
                self._weights[name] = self._weights[name] - lr * self._momentum[name]
        self.steps_done += 1
        mu = np.float32(rate(self._config.model, self.steps_done))
        for name, shadow in (self._ema or {}).items():
            shadow[...] = mu * shadow + (1 - mu) * self._weights[name]
        return float(loss)

    def phases(self, x0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> dict[str, float]:
        self.step(x0, t, eps)
        return {"forward": 0.003, "backward": 0.006, "optimizer": 0.001}

    def inspect(self, x0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> tuple[Arrays, Arrays]:
        _, difference = self._differences(x0, t, eps, np.True_)
        outputs = {layer.name: x0.mean() * w for layer, w in self._named()}
        gradients = {name: np.zeros_like(w) for name, w in self._weights.items()}
        gradients[BIAS] = (-2 * difference.sum(axis=(0, 2, 3)) / len(x0)).astype(np.float32)
        return outputs | {"conv_out": eps - difference}, gradients

    def loss(self, x0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> float:
        _, difference = self._differences(x0, t, eps, np.True_)
        with np.errstate(all="ignore"):
            return float(np.sum(difference**2) / np.float32(len(x0)))

    def predict(self, x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        return affine(self._weights, x_t, t)

    def weights(self) -> Arrays:
        return copy(self._weights)

    def ema_weights(self) -> Arrays | None:
        return copy(self._ema) if self._ema else None

    def optimizer_state(self) -> Arrays:
        return {f"momentum_buffer/{name}": m.copy() for name, m in self._momentum.items()}

    def restore(
        self, ema_weights: Arrays | None, optimizer_state: Arrays, steps_done: int
    ) -> None:
        shapes = {name: array.shape for name, array in self.optimizer_state().items()}
        check_weights(optimizer_state, shapes)
        for name in self._momentum:
            self._momentum[name] = optimizer_state[f"momentum_buffer/{name}"].copy()
        if ema_weights is not None:
            self._ema = copy(ema_weights)
        self.steps_done = steps_done

    def _named(self) -> list[tuple[Any, np.ndarray]]:
        """Every layer with something of its own to look at."""
        found = []
        for layer in layers(self._config):
            own = [self._weights[name] for name in layer.parameters]
            found.append((layer, own[0] if own else np.ones(1, np.float32)))
        return found

    def _differences(
        self, x0: np.ndarray, t: np.ndarray, eps: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """x_t, and eps - eps_pred where the mask lets it pass."""
        x_t = diffuse(x0, eps, self._alpha_bar[t].reshape(-1, 1, 1, 1))
        return x_t, (eps - affine(self._weights, x_t, t)) * mask


@dataclass
class FakeEngine:
    """See :class:`jittor_ddim.engines.base.Engine`."""

    denoiser: Callable[[Arrays, np.ndarray, np.ndarray], np.ndarray] = affine
    before_step: Callable[[int], object] = lambda step: None  # called with steps from 1
    name: str = "fake"
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        #: (batch size, timestep) of every network call.
        self.calls: list[tuple[int, int]] = []

    def unet(
        self,
        config: Config,
        weights: Arrays | None = None,
        seed: int = 1234,
        compile: bool = True,
    ) -> FakeUNet:
        return FakeUNet(self, config, fresh_weights(config, seed) if weights is None else weights)

    def trainer(
        self, config: Config, weights: Arrays | None = None, seed: int = 1234
    ) -> FakeTrainer:
        return FakeTrainer(self, config, weights, seed)

    def versions(self) -> dict[str, str]:
        return {"fake": "1"}

    def memory(self) -> None:
        return None

    def reset_peak_memory(self) -> None:
        return None


def signals_at(step: int, *numbers: signal.Signals) -> Callable[[int], None]:
    """Return a ``before_step`` that sends this process signals as a step begins."""

    def send(current: int) -> None:
        if current == step:
            for number in numbers:
                os.kill(os.getpid(), number)
                time.sleep(0.1)  # two of a kind that are pending at once are one

    return send
