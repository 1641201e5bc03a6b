"""The network in evaluation mode, written once over an engine's primitives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.config import Config
from jittor_ddim.engines.classes import one_hot
from jittor_ddim.engines.full_memory import naming_what_fits
from jittor_ddim.engines.primitives import Primitives, Weights


class UNet:
    """A network with the weights of a config's model, without dropout."""

    def __init__(
        self, primitives: Primitives, config: Config, weights: Weights, compile: bool
    ) -> None:
        """Build it; see :meth:`jittor_ddim.engines.base.Engine.unet`."""
        self._primitives, self._compile, self._config = primitives, compile, config
        self._shapes = parameter_shapes(config)
        self._model = primitives.build(config)
        self._parameters = named_parameters(self._model, config)
        self._model.set_dropout(False)
        self.load(weights)

    def load(self, weights: Weights) -> None:
        """Take these weights.

        :raises WeightsError: naming what is missing, unknown or of the wrong shape
        """
        check_weights(weights, self._shapes)
        self._primitives.assign(self._parameters, weights)
        self._predict = self._primitives.freeze(self._model, self._compile)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters by their official names, in the official order."""
        return to_numpy(self._primitives, self._parameters)

    def predict(
        self,
        x_t: NDArray[np.float32],
        t: NDArray[Any],
        labels: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Return the output (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,), int or float.

        :param labels: as in :meth:`place_labels`
        """
        classes = self.place_labels(labels, len(x_t))
        with naming_what_fits(self._primitives, self._config, len(x_t), training=False):
            return self.to_host(self._predict(self.to_device(x_t), self.to_device(t), *classes))

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return the array as one of the engine's own, on its device."""
        return self._primitives.place(array)

    def to_host(self, array: Any) -> NDArray[np.float32]:
        """Return one of the engine's arrays as a NumPy array."""
        return self._primitives.fetch(array)

    def place_labels(
        self, labels: Sequence[int] | NDArray[np.int64] | None, count: int
    ) -> list[Any]:
        """Return labels as :meth:`predict_on_device` takes them.

        :param labels: (B,) in 0 … N for a network with N classes, N for no class; None: no class
            for all; without effect on a network without classes
        :param count: B
        :raises UserError: if there are more or fewer labels, or one is out of range
        """
        return [self.to_device(rows) for rows in one_hot(self._config.model, labels, count)]

    def predict_on_device(self, x_t: Any, t: float, labels: list[Any] | None = None) -> Any:
        """Return the output for a batch at one timestep, both as the engine's arrays, computed.

        :param labels: from :meth:`place_labels`; None: no class for all
        """
        count = x_t.shape[0]
        classes = self.place_labels(None, count) if labels is None else labels
        with naming_what_fits(self._primitives, self._config, count, training=False):
            return self._predict(x_t, self._primitives.fill(t, count), *classes)

    def join(self, first: Any, second: Any) -> Any:
        """Return two batches of the engine's arrays as one."""
        return self._primitives.join(first, second)


def named_parameters(model: Any, config: Config) -> dict[str, Any]:
    """Return the model's parameters in the official order of the architecture."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in parameter_shapes(config)}


def to_numpy(primitives: Primitives, arrays: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Copy device arrays to the host."""
    return {name: primitives.fetch(array).copy() for name, array in arrays.items()}
