"""The network in evaluation mode, written once over an engine's primitives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.config import Config
from jittor_ddim.engines.primitives import Primitives, Weights


class UNet:
    """A network with the weights of a config's model, without dropout."""

    def __init__(
        self, primitives: Primitives, config: Config, weights: Weights, compile: bool
    ) -> None:
        """Build it; see :meth:`jittor_ddim.engines.base.Engine.unet`."""
        self._primitives, self._compile = primitives, compile
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

    def predict(self, x_t: NDArray[np.float32], t: NDArray[Any]) -> NDArray[np.float32]:
        """Return eps_pred (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,), int or float."""
        return self.to_host(self._predict(self.to_device(x_t), self.to_device(t)))

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return the array as one of the engine's own, on its device."""
        return self._primitives.place(array)

    def to_host(self, array: Any) -> NDArray[np.float32]:
        """Return one of the engine's arrays as a NumPy array."""
        return self._primitives.fetch(array)

    def predict_on_device(self, x_t: Any, t: float) -> Any:
        """Return eps_pred for a batch at one timestep, both as the engine's arrays, computed."""
        return self._predict(x_t, self._primitives.fill(t, x_t.shape[0]))


def named_parameters(model: Any, config: Config) -> dict[str, Any]:
    """Return the model's parameters in the official order of the architecture."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in parameter_shapes(config)}


def to_numpy(primitives: Primitives, arrays: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Copy device arrays to the host."""
    return {name: primitives.fetch(array).copy() for name, array in arrays.items()}
