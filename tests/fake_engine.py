"""A toy engine on NumPy, so that what is written once for all engines is tested in seconds.

Its network has the parameters of the config's U-Net, but computes
eps_pred = gain x_t + bias + t / 1000 with gain the mean of ``norm_out.weight`` and bias
``conv_out.bias`` (one a channel), and with classes the mean of their rows of the table besides: it
learns, it depends on all its inputs, and an image depends on
nothing but itself, to the bit.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from jittor_ddim.architecture import layers, parameter_shapes
from jittor_ddim.averaging import rate
from jittor_ddim.config import Config
from jittor_ddim.engines.base import Descriptor, Engine, Trainer
from jittor_ddim.engines.primitives import MOMENTUM
from jittor_ddim.initialization import fresh_weights

GAIN, BIAS, TABLE = "norm_out.weight", "conv_out.bias", "class_embedding.weight"

Arrays = dict[str, np.ndarray]


def affine(weights: Arrays, x_t: np.ndarray, t: Any, classes: Any = None) -> np.ndarray:
    """Return eps_pred, float32."""
    if classes is not None:
        t = np.asarray(t) + 1000 * (classes @ weights[TABLE]).mean(axis=1)
    time = np.asarray(t, np.float32).reshape(-1, 1, 1, 1) / np.float32(1000)
    with np.errstate(all="ignore"):  # diverging is one of the things to test
        return weights[GAIN].mean() * x_t + weights[BIAS].reshape(1, -1, 1, 1) + time


class Output(np.ndarray):
    """eps_pred, which remembers its model and input for the gradient."""

    model: "Model"
    x_t: np.ndarray
    scale: Any = 1

    def __rsub__(self, target: np.ndarray) -> "Output":
        difference = np.subtract(target, self).view(Output)
        difference.model, difference.x_t = self.model, self.x_t
        return difference

    def __mul__(self, scale: np.ndarray) -> "Output":
        product = np.multiply(self, scale).view(Output)
        product.model, product.x_t, product.scale = self.model, self.x_t, scale
        return product


class Loss(NamedTuple):
    value: np.floating
    gradients: list[np.ndarray]

    def __truediv__(self, number: int) -> "Loss":
        return Loss(self.value / number, [gradient / number for gradient in self.gradients])

    def item(self) -> float:
        return self.value.item()


class Model:
    def __init__(self, config: Config, engine: "FakeEngine") -> None:
        self.parameters = {n: np.zeros(s, np.float32) for n, s in parameter_shapes(config).items()}
        self.outputs: Arrays = {}
        self._layers, self._engine = layers(config), engine
        self._rate = config.model.dropout

    def named_parameters(self) -> Arrays:
        return self.parameters

    def set_dropout(self, active: bool) -> None:
        self._dropping = active and self._rate > 0

    def __call__(self, x_t: np.ndarray, t: np.ndarray, *classes: np.ndarray) -> Output:
        if self._dropping:
            x_t = x_t * (self._engine.rng.random(x_t.shape, np.float32) >= self._rate)
        for layer in self._layers:
            own = [self.parameters[name] for name in layer.parameters]
            self.outputs[layer.name] = x_t.mean() * (own[0] if own else np.ones(1, np.float32))
        output = affine(self.parameters, x_t, t, *classes).view(Output)
        output.model, output.x_t = self, x_t
        self.outputs["conv_out"] = np.asarray(output)
        return output


class Momentum:
    """SGD on the two parameters that count."""

    def __init__(self, config: Any, parameters: Arrays) -> None:
        self._lr, self._parameters = np.float32(config.lr), parameters
        zeros = {name: np.zeros_like(parameters[name]) for name in (GAIN, BIAS)}
        self.state = {"momentum_buffer": zeros}

    def step(self, gradients: list[np.ndarray]) -> None:
        by_name = dict(zip(self._parameters, gradients, strict=True))
        with np.errstate(all="ignore"):
            for name, momentum in self.state["momentum_buffer"].items():
                momentum[...] = MOMENTUM * momentum + by_name[name]
                self._parameters[name][...] -= self._lr * momentum

    def resume(self, steps: int) -> None:
        pass

    def set_rate(self, lr: float) -> None:
        self._lr = np.float32(lr)


class Average:
    def __init__(self, config: Any, parameters: Arrays) -> None:
        self._config, self._parameters, self._updates = config, parameters, 0
        self.shadow = {name: array.copy() for name, array in parameters.items()}

    def update(self) -> None:
        self._updates += 1
        mu = np.float32(rate(self._config, self._updates))
        for name, shadow in self.shadow.items():
            shadow[...] = mu * shadow + (1 - mu) * self._parameters[name]

    def resume(self, steps: int) -> None:
        self._updates = steps


class FakeEngine(Engine):
    """See :class:`jittor_ddim.engines.base.Engine`."""

    optimizer, average = Momentum, Average

    def __init__(
        self,
        denoiser: Callable[..., np.ndarray] = affine,
        before_step: Callable[[int], object] = lambda step: None,  # called with steps from 1
        name: str = "fake",
    ) -> None:
        self.denoiser, self.before_step, self.name = denoiser, before_step, name
        #: (batch size, timestep) of every network call.
        self.calls: list[tuple[int, float]] = []

    def versions(self) -> dict[str, str]:
        return {"fake": "1"}

    def place(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float32)

    def fetch(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array)

    def assign(self, arrays: Arrays, values: Arrays) -> None:
        for name, array in arrays.items():
            array[...] = values[name]

    def fill(self, value: float, count: int) -> np.ndarray:
        return np.full(count, value)

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])

    def build(self, config: Config) -> Model:
        return Model(config, self)

    def freeze(self, model: Model, compile: bool) -> Callable[..., np.ndarray]:
        def predict(x_t: np.ndarray, t: np.ndarray, *classes: np.ndarray) -> np.ndarray:
            self.calls.append((len(x_t), float(t[0])))
            return self.denoiser(model.parameters, x_t, t, *classes)

        return predict

    @contextmanager
    def watching(self, model: Model, names: set[str]) -> Any:
        model.outputs = {}
        yield model.outputs

    def sum_of_squares(self, x: Output) -> Loss:
        with np.errstate(all="ignore"):
            gradients = {name: np.zeros_like(p) for name, p in x.model.parameters.items()}
            scaled = np.asarray(x) * x.scale
            gradients[GAIN] += -2 * np.sum(scaled * x.x_t) / len(gradients[GAIN])
            gradients[BIAS] += -2 * scaled.sum(axis=(0, 2, 3))
            return Loss(np.sum(np.asarray(x) ** 2), list(gradients.values()))

    def differentiate(self, loss: Loss, parameters: Any) -> tuple[Any, list[np.ndarray]]:
        return loss.value, loss.gradients

    def without_gradients(self) -> Any:
        return np.errstate(all="ignore")

    def seed_dropout(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def clip_by_norm(self, gradients: Any, limit: float | None) -> tuple[Any, Any]:
        with np.errstate(all="ignore"):
            norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
        scale = 1 if limit is None else min(1, limit / (norm + 1e-6))
        return [g * np.float32(scale) for g in gradients], norm

    def trainer(
        self,
        config: Config,
        weights: Arrays | None = None,
        seed: int = 1234,
        last_step: int | None = None,
    ) -> "FakeTrainer":
        weights = fresh_weights(config, seed) if weights is None else weights
        return FakeTrainer(self, config, weights, seed, last_step or config.training.n_iters)


class FakeTrainer(Trainer):
    def learn(self, *batch: Any) -> float:
        self._primitives.before_step(self.steps_done + 1)
        return super().learn(*batch)


#: For :func:`jittor_ddim.engines.register`: a third engine, found by its name as any other.
DESCRIPTOR = Descriptor(
    name="fake",
    title="Fake",
    module="numpy",
    install="",
    compiles=False,
    start=lambda device, precision, compile: FakeEngine(),
    check=lambda device: iter(()),
)


def signals_at(step: int, *numbers: signal.Signals) -> Callable[[int], None]:
    """Return a ``before_step`` that sends this process signals as a step begins."""

    def send(current: int) -> None:
        if current == step:
            for number in numbers:
                os.kill(os.getpid(), number)
                time.sleep(0.1)  # two of a kind that are pending at once are one

    return send
