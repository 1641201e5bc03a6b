"""PyTorch's primitives; see :class:`jittor_ddim.engines.primitives.Primitives`."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import Module

from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Engine, Weights
from jittor_ddim.engines.pytorch import ranks, runtime
from jittor_ddim.engines.pytorch.cuda_graphs import caller
from jittor_ddim.engines.pytorch.inception import Inception
from jittor_ddim.engines.pytorch.layers import Conv2d, Dropout
from jittor_ddim.engines.pytorch.operations import layout, packing_into
from jittor_ddim.engines.pytorch.optimizer import (
    Average,
    Optimizer,
    clip_by_norm,
    differentiate,
    sum_of_squares,
)
from jittor_ddim.engines.pytorch.unet import Model
from jittor_ddim.ranks import Rank

_log = logging.getLogger(__name__)


class PyTorchEngine(Engine):
    """PyTorch on a device."""

    name = "pytorch"
    sum_of_squares = staticmethod(sum_of_squares)
    differentiate = staticmethod(differentiate)
    without_gradients = staticmethod(torch.no_grad)  # pyright: ignore[reportAssignmentType]
    seed_dropout = staticmethod(torch.manual_seed)
    clip_by_norm = staticmethod(clip_by_norm)
    optimizer, average = Optimizer, Average

    def __init__(self, device: str, precision: str, compile: bool) -> None:
        """Use a PyTorch that was started.

        :param precision: of convolutions and products, ``float32``, ``tf32`` (on a GPU, for all
            networks of the process) or ``bfloat16``; norms, sums and weights in training stay
            float32
        :param compile: whether torch.compile compiles a network at its first call; in training
            only on a GPU
        :raises EngineError: if tf32 is wanted without a GPU
        """
        runtime.set_tf32(precision == "tf32", device)
        self.device, self.precision, self._compile = device, precision, compile
        slow = precision == "bfloat16" and device == "cpu"
        if slow and not runtime.cpu_multiplies_bfloat16():
            _log.warning(
                "bfloat16: this CPU has no instructions for it (AVX-512 BF16 or AMX); PyTorch "
                "emulates it, several times slower than float32"
            )

    def versions(self) -> dict[str, str]:
        """Return the version of PyTorch."""
        return {"torch": torch.__version__}

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory PyTorch takes."""
        if self.device == "cpu":
            return None
        cuda = torch.cuda
        return DeviceMemory(
            cuda.memory_reserved(), cuda.max_memory_reserved(), cuda.max_memory_allocated()
        )

    def reset_peak_memory(self) -> None:
        """Release unused memory and restart the peaks."""
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def is_memory_full(self, error: Exception) -> bool:
        """Tell by PyTorch's own class of error."""
        return isinstance(error, torch.cuda.OutOfMemoryError)

    def place(self, array: NDArray[Any]) -> Tensor:
        """Return a contiguous Tensor; on a CPU it may share the array's memory."""
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(self.device)

    def fetch(self, array: Tensor) -> NDArray[np.float32]:
        """Return a Tensor as a NumPy array, which has no bfloat16."""
        return array.detach().float().cpu().numpy()

    @torch.no_grad()
    def assign(self, arrays: Mapping[str, Tensor], values: Weights) -> None:
        """Overwrite Tensors."""
        for name, array in arrays.items():
            array.copy_(torch.from_numpy(np.require(values[name], np.float32, ["C", "W"])))

    def fill(self, value: float, count: int) -> Tensor:
        """Return equal numbers, without a copy from the host."""
        return torch.full((count,), float(value), device=self.device)

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Return two batches as one."""
        return torch.cat([first, second])

    def synchronize(self) -> None:
        """Let a GPU finish, which computes while Python continues; messages may still travel."""
        if self.device == "cuda":
            torch.cuda.current_stream().synchronize()  # NCCL has a stream of its own

    def build(self, config: Config) -> Model:
        """Return the network, its images and kernels in the fastest layout."""
        model = Model(config, self.precision).to(self.device)
        for module in model.modules():
            if isinstance(module, Dropout):
                module.rank = self.rank
        in_order = layout(self.device, self.precision)
        return model.to(memory_format=in_order)  # pyright: ignore[reportCallIssue]

    def compile(self, model: Model) -> Callable[..., Tensor]:
        """Return the network, compiled on a GPU.

        On a CPU the compiler's bfloat16 gave wrong gradients: a loss of 441 instead of 394.
        """
        compiles = self._compile and self.device == "cuda"
        return torch.compile(model, dynamic=False) if compiles else model

    def freeze(self, model: Model, compile: bool) -> Callable[..., Tensor]:
        """Return the network with weights packed once; it waits for the device at every call."""
        network = _lowered(model) if self.precision == "bfloat16" else model
        if compile and self._compile:
            # Frozen weights become constants of the compiled code, packed for its convolutions.
            network = torch.compile(network, options={"freezing": True})
        packed: dict[str, Tensor] = {}
        call = caller(self.device)

        def run(*inputs: Tensor) -> Sequence[Tensor]:
            return [network(*inputs)]

        def predict(*inputs: Tensor) -> Tensor:
            with torch.no_grad(), packing_into(packed):
                [eps] = call(run, *inputs)
                self.synchronize()
                return eps

        return predict

    @contextmanager
    def watching(self, model: Model, names: set[str]) -> Iterator[dict[str, Tensor]]:
        """Collect outputs by forward hooks."""
        outputs: dict[str, Tensor] = {}
        modules = {name: module for name, module in model.named_modules() if name in names}
        handles = [
            module.register_forward_hook(partial(_keep, outputs, name))
            for name, module in modules.items()
        ]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    def recorder(self) -> Callable[..., Sequence[Tensor]]:
        """Return what replays a CUDA graph on a GPU, unless other ranks take part in a step."""
        return caller(self.device) if self.rank.is_alone else super().recorder()

    def meet(self, rank: Rank) -> None:
        """Meet the other ranks: by NCCL with GPUs, else by gloo."""
        ranks.meet(rank, self.device)
        self.rank = rank

    def sum_over_ranks(self, arrays: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the sums, in the same memory."""
        return arrays if self.rank.is_alone else ranks.sum_over_ranks(arrays)

    def differentiate_over_ranks(
        self,
        loss: Tensor,
        parameters: Sequence[Tensor],
        before: Sequence[Tensor],
        order: Sequence[int],
    ) -> Callable[[], Sequence[Tensor]]:
        """Send gradients while the backward pass goes on."""
        return ranks.differentiate(loss, parameters, before, order)

    def build_inception(self, weights: Weights, resize: str) -> Inception:
        """Return the Inception network."""
        return Inception(weights, resize, self.device)


def _lowered(model: Model) -> Model:
    """Return a copy whose convolutions and linear layers have weights in bfloat16.

    Autocast then has no weight to convert at every call.
    """
    copied = deepcopy(model)
    for module in copied.modules():
        if isinstance(module, Conv2d | nn.Linear):
            module.to(torch.bfloat16)
    return copied


def _keep(
    outputs: dict[str, Tensor], name: str, module: Module, args: Any, output: Tensor, *_: Any
) -> None:
    """Note a layer's output, as a forward hook."""
    outputs[name] = output
