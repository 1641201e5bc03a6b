"""The network in training as a side of ``ddim align``, which calls its parts one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.averaging import with_rate
from jittor_ddim.engines.trainer import Floats, Labels, Trainer


class Side(Trainer):
    """A trainer whose loss and optimiser another loop drives, with dropout off.

    Its learning rate stays that of the first step.
    """

    def build(self, weights: object) -> Any:
        """Return the model with the weights of the trainer, whatever is given."""
        self._model.set_dropout(False)
        return self._model

    def arrays(
        self, x_t: Floats, t: NDArray[np.int64], target: Floats, labels: Labels = None
    ) -> tuple[Floats, ...]:
        """Return a batch as :meth:`device_loss` takes it."""
        given = self._inputs(x_t, t, target, labels)
        return tuple(np.asarray(array, np.float32) for array in given)

    def device_loss(self, model: Any, batch: tuple[Any, ...]) -> Any:
        """Return the loss of device arrays, as a device array."""
        return self._loss(model, *batch) / batch[0].shape[0]

    def optimizer(self, model: Any) -> "Optimization":
        """Return a fresh optimiser, with the moving average if the config has one."""
        self._optimizer = self._primitives.optimizer(self._config.optim, self._parameters)
        if self._average:
            self._average = self._primitives.average(with_rate(self._config), self._parameters)
        self._prepare()
        return Optimization(self)

    def follow(self, loss: Any) -> None:
        """Take the step that a loss asks for."""
        value, *gradients = self._add_gradients(loss)
        self._primitives.settle(value, *gradients)
        self._update(gradients)
        self._primitives.settle()

    def average(self) -> dict[str, Any] | None:
        """Return the moving average, as device arrays by name."""
        return self._average.shadow if self._average else None


class Optimization:
    """Clipping, the optimiser and the moving average, as ``ddim align`` calls them.

    :ivar lr: the learning rate
    :ivar average: device arrays by name; None without
    """

    def __init__(self, side: Side) -> None:
        self._side, self.lr, self.average = side, side.lr, side.average()

    def step(self, loss: Any) -> None:
        """Take a step."""
        self._side.follow(loss)
