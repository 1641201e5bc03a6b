"""The training step, written once over an engine's primitives.

Loss, gradients over micro-batches, clipping, optimiser and moving average.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import backward_order, check_weights, layers
from jittor_ddim.averaging import with_rate
from jittor_ddim.config import Config
from jittor_ddim.diffusion.noise import Stream, generator
from jittor_ddim.diffusion.parametrization import loss_scales, make_example
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.classes import one_hot
from jittor_ddim.engines.full_memory import naming_what_fits
from jittor_ddim.engines.network import named_parameters, to_numpy
from jittor_ddim.engines.primitives import Primitives, Weights
from jittor_ddim.learning_rate import lr_at

Floats = NDArray[np.float32]
Labels = NDArray[np.int64] | None


class Trainer:
    """The network in training.

    Except for :meth:`step`, methods take what the network is given, x_t (B, C, H, W) at t (B,),
    and what it should answer, target (B, C, H, W). The loss is the official one: the sum over
    C, H, W of (target - prediction)^2, averaged over the batch (Ho et al. 2020, eq. 14), where the
    config does not weight images by their timestep. A network with N classes also gets labels (B,)
    in 0 … N, N for no class; None: no class for all.

    :ivar steps_done: how many optimiser steps were taken
    :ivar lr: the learning rate of the last step
    :ivar grad_norm: of the last step, before clipping
    :ivar reduce_time_s: how long the last step waited for other ranks' gradients, in seconds

    Of several ranks (``primitives.rank``) each gives :meth:`learn` its equal share of the batch;
    loss and gradients are then the means over ranks, those of the whole batch.
    """

    def __init__(
        self,
        primitives: Primitives,
        config: Config,
        weights: Weights,
        seed: int,
        last_step: int,
    ) -> None:
        """Build the network; see :meth:`jittor_ddim.engines.base.Engine.trainer`."""
        self._primitives, self._config, self._seed = primitives, config, seed
        self._last_step, self.lr = last_step, config.optim.lr
        self._schedule = Schedule.from_config(config.diffusion)
        self._scales = loss_scales(config, self._schedule.alpha_bar)
        self._model = primitives.build(config)
        self._parameters = named_parameters(self._model, config)
        self._backward_order = backward_order(config)
        _assign(primitives, self._parameters, weights)
        self._model.set_dropout(True)
        self._network = primitives.compile(self._model)
        self._optimizer = primitives.optimizer(config.optim, self._parameters)
        ema = config.model.ema
        self._average = primitives.average(with_rate(config), self._parameters) if ema else None
        self._call = primitives.recorder()
        self.steps_done = 0  # counted here: a replayed step runs none of its Python
        self.grad_norm, self.reduce_time_s = float("nan"), 0.0
        # Pending zeros and copies would make the first step's graph another one than the second
        # step's, and a framework that compiles graphs would compile both.
        primitives.settle()

    def step(self, x0: Floats, t: NDArray[np.int64], eps: Floats, labels: Labels = None) -> float:
        """Take one optimiser step on images x0 with noise eps, and return the loss before it."""
        prediction = self._config.diffusion.prediction
        return self.learn(*make_example(self._schedule, x0, t, eps, prediction), labels)

    def learn(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels = None
    ) -> float:
        """Take one optimiser step and return the loss before it."""
        self._prepare()
        parts = min(self._config.training.accumulate_steps, len(x_t))
        arrays = [np.array_split(a, parts) for a in self._inputs(x_t, t, target, labels)]
        images = math.ceil(len(x_t) / parts)
        with naming_what_fits(self._primitives, self._config, images, training=True):
            inputs = self._place(*(array for part in zip(*arrays, strict=True) for array in part))
            loss, norm = self._call(self._learn, *inputs)
            self._primitives.settle()
            self._finish(norm)
            return float(loss.item())

    def phases(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels = None
    ) -> dict[str, float]:
        """Take one optimiser step, without micro-batches, and return the seconds of its parts.

        The parts are ``forward``, ``backward`` and ``optimizer`` (with clipping and the moving
        average); each is waited for, which a step without a stopwatch need not do.
        """
        self._prepare()
        times = [time.perf_counter()]

        def stop(*arrays: Any) -> None:
            self._primitives.settle(*arrays)
            self._primitives.synchronize()
            times.append(time.perf_counter())

        inputs = self._place(*self._inputs(x_t, t, target, labels))
        loss = self._loss(self._network, *inputs) / len(x_t)
        stop(loss)
        _, *gradients = self._add_gradients(loss)
        stop(*gradients)
        norm = self._update(gradients)
        stop()
        self._finish(norm)
        names = ("forward", "backward", "optimizer")
        return dict(zip(names, np.diff(times).tolist(), strict=True))

    def inspect(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels = None
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Return every layer's output and every parameter's gradient, and learn nothing.

        Outputs are named as in :func:`jittor_ddim.architecture.layers` and stand in the order of
        execution, an attention block after its parts. Gradients are the loss's, by parameter.
        """
        self._seed_dropout()
        names = {layer.name for layer in layers(self._config)}
        with self._primitives.watching(self._model, names) as outputs:
            inputs = self._place(*self._inputs(x_t, t, target, labels))
            loss = self._loss(self._model, *inputs) / len(x_t)
        _, *gradients = self._add_gradients(loss)
        self._primitives.settle(*outputs.values(), *gradients)
        by_name = dict(zip(self._parameters, gradients, strict=True))
        return to_numpy(self._primitives, outputs), to_numpy(self._primitives, by_name)

    def loss(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels = None
    ) -> float:
        """Return the loss without dropout and without learning from it."""
        with self._evaluating():
            loss = self._loss(self._model, *self._place(*self._inputs(x_t, t, target, labels)))
            self._primitives.settle(loss)
            return float(loss.item()) / len(x_t)

    def predict(self, x_t: Floats, t: NDArray[np.int64], labels: Labels = None) -> Floats:
        """Return the output of the network with the current weights, without dropout."""
        with self._evaluating():
            classes = one_hot(self._config.model, labels, len(x_t))
            output = self._model(*self._place(x_t, t, *classes))
            self._primitives.settle(output)
            return self._primitives.fetch(output)

    def weights(self) -> dict[str, Floats]:
        """Return the current weights."""
        return to_numpy(self._primitives, self._parameters)

    def ema_weights(self) -> dict[str, Floats] | None:
        """Return the moving average of the weights, or None where the config has it off."""
        return to_numpy(self._primitives, self._average.shadow) if self._average else None

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimiser's arrays by ``kind/parameter``, for instance ``exp_avg/…``."""
        return to_numpy(self._primitives, self._flat_state())

    def restore(
        self, ema_weights: Weights | None, optimizer_state: Weights, steps_done: int
    ) -> None:
        """Continue where another trainer stopped; the weights were given at construction.

        :raises WeightsError: if the arrays do not fit
        """
        _assign(self._primitives, self._flat_state(), optimizer_state)
        if self._average and ema_weights is not None:
            _assign(self._primitives, self._average.shadow, ema_weights)
            self._average.resume(steps_done)
        self._optimizer.resume(steps_done)
        self.steps_done = steps_done

    def _learn(self, *inputs: Any) -> tuple[Any, Any]:
        """Return loss and gradient norm before one step on the device.

        :param inputs: those of each micro-batch, see :meth:`_inputs`
        """
        width = 3 + (self._scales is not None) + (self._config.model.num_classes is not None)
        parts = [inputs[start : start + width] for start in range(0, len(inputs), width)]
        images = sum(x_t.shape[0] for x_t, *_ in parts)
        sums: list[Any] = []  # of the loss and the gradients
        for n, part in enumerate(parts, 1):
            loss = self._loss(self._network, *part) / images
            if n == len(parts) and not self._primitives.rank.is_alone:
                sums = self._mean_over_ranks(loss, sums)
            else:
                sums = self._add_gradients(loss, sums)
            # Keep only one micro-batch's graph alive, and let no weight learn from a failure.
            self._primitives.settle(*sums)
        return sums[0], self._update(sums[1:])

    def _mean_over_ranks(self, loss: Any, before: Sequence[Any]) -> list[Any]:
        primitives, parameters = self._primitives, list(self._parameters.values())
        wait = primitives.differentiate_over_ranks(loss, parameters, before, self._backward_order)
        primitives.synchronize()  # so that a slow rank is seen to wait least
        start = time.perf_counter()
        means = [total / primitives.rank.size for total in wait()]
        primitives.settle(*means)
        primitives.synchronize()
        self.reduce_time_s = time.perf_counter() - start
        return means

    def _add_gradients(self, loss: Any, before: Sequence[Any] = ()) -> list[Any]:
        return self._primitives.add_gradients(loss, list(self._parameters.values()), before)

    def _update(self, gradients: Sequence[Any]) -> Any:
        """Clip, update weights and average, and return the norm before clipping."""
        limit = self._config.optim.grad_clip
        clipped, norm = self._primitives.clip_by_norm(gradients, limit)
        self._optimizer.step(clipped)
        if self._average:
            self._average.update()
        return norm

    def _finish(self, norm: Any) -> None:
        self.steps_done += 1
        self.grad_norm = float(norm.item())

    def _loss(
        self, network: Callable[..., Any], x_t: Any, t: Any, target: Any, *others: Any
    ) -> Any:
        """Return the loss summed over the batch.

        :param network: the model, or its compiled form, in which no layer can be watched
        :param others: see :meth:`_inputs`
        """
        if self._scales is None:
            return self._primitives.sum_of_squares(target - network(x_t, t, *others))
        scale, *classes = others
        return self._primitives.sum_of_squares((target - network(x_t, t, *classes)) * scale)

    def _inputs(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels
    ) -> list[NDArray[Any]]:
        """Return the arrays that :meth:`_loss` takes.

        If images have weights in the loss, the fourth is their roots, (B, 1, 1, 1). A network with
        classes gets them last, one-hot.
        """
        scale = [] if self._scales is None else [self._scales[t].reshape(-1, 1, 1, 1)]
        return [x_t, t, target, *scale, *one_hot(self._config.model, labels, len(x_t))]

    def _place(self, *arrays: NDArray[Any]) -> list[Any]:
        return [self._primitives.place(array) for array in arrays]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Turn off dropout and gradients meanwhile."""
        self._model.set_dropout(False)
        try:
            with self._primitives.without_gradients():
                yield
        finally:
            self._model.set_dropout(True)

    def _flat_state(self) -> dict[str, Any]:
        return {
            f"{kind}/{name}": array
            for kind, arrays in self._optimizer.state.items()
            for name, array in arrays.items()
        }

    def _prepare(self) -> None:
        """Set what changes from step to step."""
        self._seed_dropout()
        if self._config.optim.lr_varies:
            self.lr = lr_at(self._config.optim, self.steps_done + 1, self._last_step)
            self._optimizer.set_rate(self.lr)

    def _seed_dropout(self) -> None:
        """Key the dropout masks by (seed, step), so that a resumed run draws the same ones."""
        if self._config.model.dropout > 0:
            rng = generator(self._seed, Stream.DROPOUT, step=self.steps_done)
            self._primitives.seed_dropout(int(rng.integers(2**31)))


def _assign(primitives: Primitives, arrays: Mapping[str, Any], values: Weights) -> None:
    check_weights(values, {name: tuple(array.shape) for name, array in arrays.items()})
    primitives.assign(arrays, values)
