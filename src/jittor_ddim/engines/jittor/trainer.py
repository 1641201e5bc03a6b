"""One training step: loss, gradients, clipping, optimiser, moving average."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jittor as jt
import numpy as np
from jittor import Module, Var
from numpy.typing import NDArray

from jittor_ddim.architecture import check_weights, layers
from jittor_ddim.config import Config
from jittor_ddim.diffusion.noise import Stream, generator
from jittor_ddim.diffusion.parametrization import diffuse
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.base import Weights
from jittor_ddim.engines.jittor.operations import operations
from jittor_ddim.engines.jittor.operations.failures import check_kernels
from jittor_ddim.engines.jittor.optimizer import Average, Optimizer, clip_by_norm, sum_of_squares
from jittor_ddim.engines.jittor.unet import (
    Model,
    assign,
    find_module,
    named_parameters,
    to_numpy,
)


class Trainer:
    """The network in training; see :class:`jittor_ddim.engines.base.Trainer`."""

    def __init__(self, config: Config, weights: Weights, seed: int, precision: str) -> None:
        self._config = config
        self._seed = seed
        self._layers = layers(config)
        self._schedule = Schedule.from_config(config.diffusion)
        self._model = Model(config, precision)
        self._parameters = named_parameters(self._model, config)
        check_weights(weights, {name: p.shape for name, p in self._parameters.items()})
        assign(self._parameters, weights)
        self._model.set_dropout(True)
        self._optimizer = Optimizer(config.optim, self._parameters)
        self._average = Average(config.model, self._parameters) if config.model.ema else None
        self.grad_norm = float("nan")
        # Materialise the zeros and copies: as part of the first step's graph they would make it
        # another one than the second step's, and both would be compiled.
        jt.sync_all()

    @property
    def steps_done(self) -> int:
        """How many optimiser steps were taken."""
        return self._optimizer.steps_done

    def step(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Take one optimiser step and return the loss before it."""
        self._seed_dropout()
        loss, gradients = self._differentiate(x0, t, eps)
        self._update(gradients)
        return float(loss.item())

    def phases(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> dict[str, float]:
        """Take one optimiser step, without micro-batches, and return the seconds of its parts."""
        self._seed_dropout()
        times = [time.perf_counter()]
        loss = self._loss(x0, t, eps) / len(x0)
        _wait_for([loss])
        times.append(time.perf_counter())
        gradients = jt.grad(loss, list(self._parameters.values()))
        _wait_for(gradients)
        times.append(time.perf_counter())
        self._update(gradients)
        times.append(time.perf_counter())
        names = ("forward", "backward", "optimizer")
        return dict(zip(names, np.diff(times).tolist(), strict=True))

    def inspect(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Return every layer's output and every parameter's gradient, and learn nothing."""
        self._seed_dropout()
        outputs: dict[str, Var] = {}
        modules = {layer.name: find_module(self._model, layer.name) for layer in self._layers}
        for name, module in modules.items():
            module.register_forward_hook(partial(_keep, outputs, name))
        loss = self._loss(x0, t, eps) / len(x0)
        for module in modules.values():
            module.remove_forward_hook()
        gradients = jt.grad(loss, list(self._parameters.values()))
        _wait_for([*outputs.values(), *gradients])
        by_name = dict(zip(self._parameters, gradients, strict=True))
        return to_numpy(outputs), to_numpy(by_name)

    def loss(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> float:
        """Return the loss without dropout and without learning from it."""
        with self._without_dropout():
            loss = self._loss(x0, t, eps)
            _wait_for([loss])
            return float(loss.item()) / len(x0)

    def predict(self, x_t: NDArray[np.float32], t: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return eps_pred of the current weights, without dropout."""
        with self._without_dropout():
            eps_pred = self._model(jt.array(x_t), jt.array(t.astype(np.float32)))
            _wait_for([eps_pred])
            return eps_pred.numpy()

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
        self._optimizer.steps_done = steps_done

    def _differentiate(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> tuple[Var, list[Var]]:
        """The loss and its gradients, summed over micro-batches."""
        parameters = list(self._parameters.values())
        micro_batches = self._config.training.accumulate_steps
        loss, gradients = jt.zeros(1), None
        for rows in np.array_split(np.arange(len(x0)), min(micro_batches, len(x0))):
            part = self._loss(x0[rows], t[rows], eps[rows]) / len(x0)
            parts = jt.grad(part, parameters)
            loss = loss + part
            gradients = (
                parts
                if gradients is None
                else [total + new for total, new in zip(gradients, parts, strict=True)]
            )
            # Only one micro-batch's graph shall be alive, and no weight learn from a failure.
            _wait_for([loss, *gradients])
        return loss, gradients or []

    def _update(self, gradients: Sequence[Var]) -> None:
        """Clip, let the optimiser and the average learn, and wait until all is computed."""
        clipped, norm = clip_by_norm(gradients, self._config.optim.grad_clip)
        self._optimizer.step(clipped)
        if self._average:
            self._average.update()
        jt.sync_all(True)
        self.grad_norm = float(norm.item())

    def _loss(
        self, x0: NDArray[np.float32], t: NDArray[np.int64], eps: NDArray[np.float32]
    ) -> Var:
        """The sum over images and pixels of (eps - eps_pred)^2 (Ho et al. 2020, eq. 14)."""
        alpha_bar = self._schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
        x_t = diffuse(x0, eps, alpha_bar)
        eps_pred = self._model(jt.array(x_t), jt.array(t.astype(np.float32)))
        return sum_of_squares(jt.array(eps) - eps_pred)

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        """Let the network be one that is used, not trained."""
        self._model.set_dropout(False)
        try:
            with jt.no_grad():
                yield
        finally:
            self._model.set_dropout(True)

    def _flat_state(self) -> dict[str, Var]:
        return {
            f"{kind}/{name}": variable
            for kind, variables in self._optimizer.state.items()
            for name, variable in variables.items()
        }

    def _seed_dropout(self) -> None:
        """Key the dropout masks by (seed, step), so that a resumed run draws the same ones."""
        if self._config.model.dropout > 0:
            rng = generator(self._seed, Stream.DROPOUT, step=self.steps_done)
            jt.set_seed(int(rng.integers(2**31)))


def _wait_for(variables: Sequence[Var]) -> None:
    """Compute some Vars, let the device finish, and see that no kernel failed."""
    jt.sync(list(variables))
    jt.sync_all(True)
    check_kernels()


def _keep(
    outputs: dict[str, Var], name: str, module: Module, args: Any, output: Var, *_: Any
) -> None:
    """A forward hook that takes note of a layer's output."""
    outputs[name] = operations().to_image(output) if output.ndim > 2 else output
