"""What the tests of both engines need of a framework itself."""

import gc
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


class Framework:
    """One framework, by the name of its engine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.array: Callable[[np.ndarray], Any] = getattr(self, f"_{name}_array")
        self.count_alive: Callable[[], int] = getattr(self, f"_{name}_alive")

    def module(self, name: str) -> ModuleType:
        """A module of the engine, such as ``optimizer``."""
        return importlib.import_module(f"jittor_ddim.engines.{self._name}.{name}")

    @staticmethod
    def _jittor_array(array: np.ndarray) -> Any:
        import jittor

        return jittor.array(array.astype(np.float32))

    @staticmethod
    def _pytorch_array(array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(array.astype(np.float32))

    @staticmethod
    def _jittor_alive() -> int:
        """How many arrays the framework keeps."""
        import jittor

        return jittor.liveness_info()["lived_vars"]

    @staticmethod
    def _pytorch_alive() -> int:
        import torch

        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
