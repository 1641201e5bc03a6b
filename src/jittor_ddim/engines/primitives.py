"""What an engine provides: the few operations in which the frameworks differ.

The training step, the sampling network and Inception are written once over these primitives.
Arrays and models are the framework's own; NumPy arrays enter by ``place`` and leave by ``fetch``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config, ModelConfig, OptimConfig
from jittor_ddim.engines.inception import Inception
from jittor_ddim.errors import EngineError
from jittor_ddim.ranks import Rank

#: Parameters by their official names, float32.
Weights = Mapping[str, NDArray[np.float32]]

#: What the config leaves to the optimisers, in every engine.
BETA2 = 0.999  # of Adam
RMSPROP_DECAY = 0.99
MOMENTUM = 0.9  # of SGD


class DeviceMemory(NamedTuple):
    """Bytes of a device's memory."""

    reserved: int  # what the framework holds, used or not
    peak_reserved: int  # the most since the last reset; the current amount if it keeps no peaks
    peak_allocated: int | None  # the most that its arrays used; None if it does not tell


class Primitives(ABC):
    """A framework on a device; an eager one on a CPU overrides only what is abstract.

    A model is callable as ``model(x_t, t)``, with one-hot rows of classes (B, N + 1) as a third
    argument where the config has N classes; it has ``named_parameters()`` with the official names,
    and ``set_dropout(active)``.
    """

    name: str  #: of the engine, such as "jittor"
    device: str = "cpu"  #: "cpu" or "cuda"
    precision: str = "float32"  #: "float32", "tf32" or "bfloat16"
    rank: Rank = Rank()  #: which of the processes that train one network this is

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of the framework and what it computes with."""

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory the framework takes; None on a CPU."""
        return None

    def reset_peak_memory(self) -> None:
        """Release what is unused and restart the peaks."""
        return None

    def is_memory_full(self, error: Exception) -> bool:
        """Tell whether the framework raised an error for want of the device's memory."""
        return False

    # Arrays

    @abstractmethod
    def place(self, array: NDArray[Any]) -> Any:
        """Return a host array as float32 on the device, detached from gradients."""

    @abstractmethod
    def fetch(self, array: Any) -> NDArray[np.float32]:
        """Return a device array on the host; on a CPU it may share memory."""

    @abstractmethod
    def assign(self, arrays: Mapping[str, Any], values: Weights) -> None:
        """Overwrite device arrays in place by host arrays of the same names."""

    @abstractmethod
    def fill(self, value: float, count: int) -> Any:
        """Return (count,) equal numbers on the device."""

    @abstractmethod
    def join(self, first: Any, second: Any) -> Any:
        """Return two batches as one."""

    def settle(self, *arrays: Any) -> None:
        """Compute these arrays and whatever else a lazy framework has pending.

        An eager framework has nothing to do, and must not wait for the device.

        :raises MachineError: if a kernel failed
        """
        return None

    def synchronize(self) -> None:
        """Wait until the device has finished; for stopwatches."""
        return None

    # The network

    @abstractmethod
    def build(self, config: Config) -> Any:
        """Return a model on the device, its weights still to be assigned."""

    @abstractmethod
    def freeze(self, model: Any, compile: bool) -> Callable[..., Any]:
        """Return ``predict(x_t, t)`` of a model whose weights stay as they are from now on.

        It takes what the model takes and returns its output computed, without gradients; weights
        may be laid out only once.

        :param compile: False: do not compile it even if the engine was started so
        """

    @abstractmethod
    def watching(self, model: Any, names: set[str]) -> AbstractContextManager[dict[str, Any]]:
        """Collect the outputs of the named layers, (B, C, H, W) or (B, C), as the model runs."""

    # Learning

    def compile(self, model: Any) -> Callable[..., Any]:
        """Return the model to train, compiled if the engine was started so."""
        return model

    def recorder(self) -> Callable[..., Sequence[Any]]:
        """Return ``call(function, *inputs)``, which may record and replay one function.

        The function takes and returns device arrays, reads no values on the host and otherwise
        changes device arrays in place only.
        """
        return lambda function, *inputs: function(*inputs)

    #: Of an array: the sum of all squares as a differentiable scalar, rows first. Summing one
    #: element after another in float32 loses five digits of a large gradient.
    sum_of_squares: Callable[[Any], Any]
    #: Of a loss and parameters: the loss, detached, and its gradients in their order.
    differentiate: Callable[[Any, Sequence[Any]], tuple[Any, Sequence[Any]]]

    def add_gradients(
        self, loss: Any, parameters: Sequence[Any], before: Sequence[Any]
    ) -> list[Any]:
        """Return the loss and its gradients, added to those of earlier micro-batches.

        :param before: what this returned for the one before; empty for the first
        """
        own, gradients = self.differentiate(loss, parameters)
        new = [own, *gradients]
        return [a + b for a, b in zip(before, new, strict=True)] if before else new

    #: A context in which nothing is recorded for gradients.
    without_gradients: Callable[[], AbstractContextManager[Any]]
    #: Seed the generator of the dropout masks.
    seed_dropout: Callable[[int], object]
    #: Of gradients and a limit (None: no clipping): the gradients scaled to a global norm of at
    #: most the limit, by min(1, limit / (norm + 1e-6)) as in ``torch.nn.utils.clip_grad_norm_``,
    #: and the norm before it.
    clip_by_norm: Callable[[Sequence[Any], float | None], tuple[Sequence[Any], Any]]
    #: The optimiser of a config: ``state`` (arrays by kind, then by parameter name),
    #: ``step(gradients)``, ``resume(steps)`` and, called before each step if ``config.lr_varies``,
    #: ``set_rate(lr)``, after which nothing must be compiled or recorded anew. The kinds are those
    #: of ``config.state_kinds``, so that a run continues in any engine.
    optimizer: Callable[[OptimConfig, Mapping[str, Any]], Any]
    #: The exponential moving average of the weights, mu s + (1 - mu) p at each step: ``shadow``
    #: (arrays by parameter name), ``update()`` and ``resume(steps)``.
    average: Callable[[ModelConfig, Mapping[str, Any]], Any]

    # Other processes that train the same network, see jittor_ddim.ranks

    def meet(self, rank: Rank) -> None:
        """Meet the other ranks, and be this one from now on.

        Dropout then draws the masks of a micro-batch of all ranks, and each uses its rows of them.

        :raises EngineError: if this engine trains in one process only, or they cannot be met
        """
        raise EngineError(f"the {self.name} engine trains in one process only")

    def sum_over_ranks(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """Return the sums of arrays over all ranks, equal on each to the bit; all must call it.

        :raises MachineError: if another rank has ended
        """
        return arrays

    def differentiate_over_ranks(
        self, loss: Any, parameters: Sequence[Any], before: Sequence[Any], order: Sequence[int]
    ) -> Callable[[], Sequence[Any]]:
        """Begin to sum a loss and its gradients over all ranks; all must call it.

        :param before: see :meth:`add_gradients`
        :param order: the places of the parameters, last layers first
        :returns: what waits for the sums and returns them, equal on each rank to the bit
        """
        own = self.add_gradients(loss, parameters, before)
        self.settle(*own)
        return partial(self.sum_over_ranks, own)

    def gather(self, numbers: Sequence[float]) -> NDArray[np.float32]:
        """Return (N, k), the k numbers of each of N ranks; all must call it."""
        table = np.zeros((self.rank.size, len(numbers)), np.float32)
        table[self.rank.index] = numbers
        [whole] = self.sum_over_ranks([self.place(table)])
        self.settle(whole)
        return self.fetch(whole)

    def build_inception(self, weights: Weights, resize: str) -> Inception:
        """Return the Inception network with these weights.

        :raises EngineError: if the engine has none
        """
        raise EngineError(f"the {self.name} engine has no Inception network")
