"""Jittor's primitives; see :class:`jittor_ddim.engines.primitives.Primitives`.

Jittor is lazy: an operation joins a graph, which runs once a value of it is wanted.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jittor as jt
import numpy as np
from jittor import Module, Var
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.engines.base import DeviceMemory, Engine, Weights
from jittor_ddim.engines.jittor import ranks
from jittor_ddim.engines.jittor.inception import Inception
from jittor_ddim.engines.jittor.layers import Dropout
from jittor_ddim.engines.jittor.operations import multiplies_bfloat16, operations, use_fused
from jittor_ddim.engines.jittor.operations.failures import check_kernels
from jittor_ddim.engines.jittor.operations.fused import packing_into
from jittor_ddim.engines.jittor.optimizer import (
    Average,
    Optimizer,
    clip_by_norm,
    differentiate,
    sum_of_squares,
)
from jittor_ddim.engines.jittor.unet import Model
from jittor_ddim.errors import EngineError
from jittor_ddim.ranks import Rank

_log = logging.getLogger(__name__)

_MEMORY_FULL = ("Unable to alloc cuda device memory", "out of memory", "ALLOC_FAILED")


class JittorEngine(Engine):
    """Jittor on a device."""

    name = "jittor"
    sum_of_squares = staticmethod(sum_of_squares)
    differentiate = staticmethod(differentiate)
    without_gradients = staticmethod(jt.no_grad)
    seed_dropout = staticmethod(jt.set_seed)
    clip_by_norm = staticmethod(clip_by_norm)
    optimizer, average = Optimizer, Average

    def __init__(self, device: str, precision: str) -> None:
        """Use a Jittor that was started.

        :param precision: of convolutions and attention, ``float32``, ``bfloat16`` or, on a GPU,
            ``tf32``; all else stays float32, and so does everything where there are no
            instructions for bfloat16
        """
        if precision == "bfloat16" and not multiplies_bfloat16():
            _log.warning(
                "bfloat16: Jittor uses it only in this package's kernels, on a GPU from compute "
                "capability 8.0 on or a CPU with AVX-512 BF16; computing in float32"
            )
            precision = "float32"
        if precision == "tf32" and use_fused() and not multiplies_bfloat16():
            raise EngineError("precision tf32: GPUs have it from compute capability 8.0 on")
        self.device, self.precision = device, precision

    def versions(self) -> dict[str, str]:
        """Return the version of Jittor."""
        return {"jittor": jt.__version__}

    def memory(self) -> DeviceMemory | None:
        """Return how much of the device's memory Jittor takes."""
        if self.device == "cpu":
            return None
        reserved = jt.get_mem_info().total_cuda_used
        return DeviceMemory(reserved, reserved, None)

    def reset_peak_memory(self) -> None:
        """Release unused memory; Jittor keeps no peaks, but its pool grows to them."""
        if self.device == "cuda":
            jt.gc()

    def is_memory_full(self, error: Exception) -> bool:
        """Tell Jittor's, or a kernel's, from what it says: both raise what they raise for all."""
        return self.device == "cuda" and any(sign in str(error) for sign in _MEMORY_FULL)

    def place(self, array: NDArray[Any]) -> Var:
        """Return a Var without gradients.

        With them Jittor would keep every state of a sampler alive for as long as x_T lives.
        """
        return jt.array(np.ascontiguousarray(array, np.float32)).stop_grad()

    def fetch(self, array: Var) -> NDArray[np.float32]:
        """Return a Var as a NumPy array."""
        return array.numpy()

    def assign(self, arrays: Mapping[str, Var], values: Weights) -> None:
        """Overwrite Vars, and materialise them at once.

        Left lazy, an array of one element (the bias of a grey image's last convolution) is fused
        into its first use as a constant, in code that does not compile.
        """
        for name, array in arrays.items():
            array.update(jt.array(np.ascontiguousarray(values[name], np.float32)))
        jt.sync(list(arrays.values()))

    def fill(self, value: float, count: int) -> Var:
        """Return equal numbers."""
        return self.place(np.full(count, value))

    def join(self, first: Var, second: Var) -> Var:
        """Return two batches as one."""
        return jt.concat([first, second], dim=0)

    def settle(self, *arrays: Var) -> None:
        """Compute these Vars, then all others, and check the kernels; a GPU is not waited for."""
        jt.sync(list(arrays))
        jt.sync_all(self.device == "cpu")
        check_kernels()

    def synchronize(self) -> None:
        """Let a GPU finish, which computes while Python continues."""
        jt.sync_all(True)

    def build(self, config: Config) -> Model:
        """Return the network."""
        model = Model(config, self.precision)
        for module in model.modules():
            if isinstance(module, Dropout):
                module.rank = self.rank
        return model

    def meet(self, rank: Rank) -> None:
        """Be one of the ranks that Jittor's MPI met."""
        ranks.meet(rank)
        self.rank = rank

    def sum_over_ranks(self, arrays: Sequence[Var]) -> Sequence[Var]:
        """Return the sums, by way of the host."""
        return arrays if self.rank.is_alone else ranks.sum_over_ranks(arrays)

    def freeze(self, model: Model, compile: bool) -> Callable[..., Var]:
        """Return the network with weights packed once, and its output computed at every call.

        Otherwise the graph of all sampling steps would pile up unexecuted.
        """
        packed: dict[Any, Var] = {}

        def predict(*inputs: Var) -> Var:
            with jt.no_grad(), packing_into(packed):
                eps = model(*inputs)
                eps.sync()
                check_kernels()
                return eps

        return predict

    @contextmanager
    def watching(self, model: Model, names: set[str]) -> Iterator[dict[str, Var]]:
        """Collect outputs by forward hooks."""
        outputs: dict[str, Var] = {}
        modules = {name: module for name, module in model.named_modules() if name in names}
        for name, module in modules.items():
            module.register_forward_hook(partial(_keep, outputs, name))
        try:
            yield outputs
        finally:
            for module in modules.values():
                module.remove_forward_hook()

    def build_inception(self, weights: Weights, resize: str) -> Inception:
        """Return the Inception network; Jittor's own convolutions round to TF32 where they may."""
        if self.precision == "tf32":
            _log.warning("Inception computes in tf32 too: for a FID to quote use float32")
        return Inception(weights, resize)


def _keep(
    outputs: dict[str, Var], name: str, module: Module, args: Any, output: Var, *_: Any
) -> None:
    """Note a layer's output, as a forward hook."""
    outputs[name] = operations().to_image(output) if output.ndim > 2 else output
