"""One training step: loss, gradients, clipping, optimiser, moving average."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from jittor_ddim.architecture import check_weights, layers
from jittor_ddim.config import Config
from jittor_ddim.diffusion.noise import Stream, generator
from jittor_ddim.diffusion.parametrization import diffuse
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.base import Weights
from jittor_ddim.engines.pytorch.cuda_graphs import caller
from jittor_ddim.engines.pytorch.optimizer import Average, Optimizer, clip_by_norm, sum_of_squares
from jittor_ddim.engines.pytorch.unet import (
    assign,
    build,
    find_module,
    from_numpy,
    named_parameters,
    synchronize,
    to_numpy,
)


class Trainer:
    """The network in training; see :class:`jittor_ddim.engines.base.Trainer`."""

    def __init__(
        self,
        config: Config,
        weights: Weights,
        seed: int,
        device: str,
        precision: str,
        compile: bool,
    ) -> None:
        self._device = device
        self._config = config
        self._seed = seed
        self._layers = layers(config)
        self._schedule = Schedule.from_config(config.diffusion)
        self._model = build(config, device, precision)
        self._parameters = named_parameters(self._model, config)
        check_weights(weights, {name: p.shape for name, p in self._parameters.items()})
        assign(self._parameters, weights)
        self._model.set_dropout(True)
        self._network = torch.compile(self._model, dynamic=False) if compile else self._model
        self._optimizer = Optimizer(config.optim, self._parameters)
        self._average = Average(config.model, self._parameters) if config.model.ema else None
        self._call = caller(device)
        self.steps_done = 0  # counted here: a replay runs none of the optimiser's Python
        self.grad_norm = float("nan")

    def step(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Take one optimiser step and return the loss before it."""
        self._seed_dropout()
        loss, norm = self._call(self._learn, *self._inputs(x0, t, eps))
        self._finish(norm)
        return float(loss.item())

    def phases(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> dict[str, float]:
        """Take one optimiser step, without micro-batches, and return the seconds of its parts."""
        self._seed_dropout()
        times = [time.perf_counter()]
        loss = self._loss(self._network, *self._inputs(x0, t, eps)) / len(x0)
        synchronize(self._device)
        times.append(time.perf_counter())
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        synchronize(self._device)
        times.append(time.perf_counter())
        norm = self._update(gradients)
        synchronize(self._device)
        times.append(time.perf_counter())
        self._finish(norm)
        names = ("forward", "backward", "optimizer")
        return dict(zip(names, np.diff(times).tolist(), strict=True))

    def inspect(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Return every layer's output and every parameter's gradient, and learn nothing."""
        self._seed_dropout()
        outputs: dict[str, Tensor] = {}
        handles = []
        modules = {layer.name: find_module(self._model, layer.name) for layer in self._layers}
        for name, module in modules.items():
            handles.append(module.register_forward_hook(partial(_keep, outputs, name)))
        loss = self._loss(self._model, *self._inputs(x0, t, eps)) / len(x0)
        for handle in handles:
            handle.remove()
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        by_name = dict(zip(self._parameters, gradients, strict=True))
        return to_numpy(outputs), to_numpy(by_name)

    def loss(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Return the loss without dropout and without learning from it."""
        with self._without_dropout():
            loss = self._loss(self._model, *self._inputs(x0, t, eps))
            return float(loss.item()) / len(x0)

    def predict(self, x_t: NDArray[np.float32], t: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return eps_pred of the current weights, without dropout."""
        with self._without_dropout():
            images, steps = (from_numpy(array, self._device) for array in (x_t, t))
            return self._model(images, steps).cpu().numpy()

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the current weights."""
        return to_numpy(self._parameters)

    def ema_weights(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the moving average of the weights, or None where the config has it off."""
        return to_numpy(self._average.shadow) if self._average else None

    def optimizer_state(self) -> dict[str, NDArray[np.float32]]:
        """Return the optimiser's arrays by ``kind/parameter``."""
        return to_numpy(self._flat_state())

    def restore(
        self,
        ema_weights: Weights | None,
        optimizer_state: Mapping[str, NDArray[np.float32]],
        steps_done: int,
    ) -> None:
        """Continue where another trainer stopped; the weights were given at construction."""
        state = self._flat_state()
        check_weights(optimizer_state, {name: v.shape for name, v in state.items()})
        assign(state, optimizer_state)
        if self._average and ema_weights is not None:
            shadow = self._average.shadow
            check_weights(ema_weights, {name: v.shape for name, v in shadow.items()})
            assign(shadow, ema_weights)
            self._average.go_on_from(steps_done)
        self._optimizer.go_on_from(steps_done)
        self.steps_done = steps_done

    def _learn(self, x_t: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """One step on the device: what is returned, loss and gradient norm, is before it."""
        loss, gradients = self._differentiate(x_t, t, eps)
        return loss, self._update(gradients)

    def _differentiate(self, x_t: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradients, summed over micro-batches."""
        parameters = list(self._parameters.values())
        micro_batches = min(self._config.training.accumulate_steps, len(x_t))
        loss, gradients = torch.zeros((), device=self._device), None
        splits = (part.tensor_split(micro_batches) for part in (x_t, t, eps))
        for inputs in zip(*splits, strict=True):
            part = self._loss(self._network, *inputs) / len(x_t)
            parts = list(torch.autograd.grad(part, parameters))
            loss = loss + part.detach()
            gradients = (
                parts
                if gradients is None
                else [total + new for total, new in zip(gradients, parts, strict=True)]
            )
        return loss, gradients or []

    def _update(self, gradients: Sequence[Tensor]) -> Tensor:
        """Clip, let the optimiser and the average learn, and return the norm before clipping."""
        clipped, norm = clip_by_norm(gradients, self._config.optim.grad_clip)
        self._optimizer.step(clipped)
        if self._average:
            self._average.update()
        return norm

    def _finish(self, norm: Tensor) -> None:
        """Count the step."""
        self.steps_done += 1
        self.grad_norm = float(norm.item())

    def _inputs(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t, t and eps on the device."""
        images, alpha_bar, noise, steps = (
            from_numpy(array, self._device) for array in (x0, self._schedule.alpha_bar[t], eps, t)
        )
        return diffuse(images, noise, alpha_bar.reshape(-1, 1, 1, 1)), steps, noise

    def _loss(self, network: Callable[..., Tensor], x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The sum over images and pixels of (eps - eps_pred)^2 (Ho et al. 2020, eq. 14).

        :param network: the model, or what the compiler made of it, which no hook sees into
        """
        return sum_of_squares(eps - network(x_t, t))

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        """Let the network be one that is used, not trained."""
        self._model.set_dropout(False)
        try:
            with torch.no_grad():
                yield
        finally:
            self._model.set_dropout(True)

    def _flat_state(self) -> dict[str, Tensor]:
        return {
            f"{kind}/{name}": variable
            for kind, variables in self._optimizer.state.items()
            for name, variable in variables.items()
        }

    def _seed_dropout(self) -> None:
        """Key the dropout masks by (seed, step), so that a resumed run draws the same ones."""
        if self._config.model.dropout > 0:
            rng = generator(self._seed, Stream.DROPOUT, step=self.steps_done)
            torch.manual_seed(int(rng.integers(2**31)))


def _keep(
    outputs: dict[str, Tensor], name: str, module: Module, args: Any, output: Tensor, *_: Any
) -> None:
    """A forward hook that takes note of a layer's output."""
    outputs[name] = output
