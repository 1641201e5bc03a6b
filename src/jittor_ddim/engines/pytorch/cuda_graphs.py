"""CUDA graphs: what a function launches on the GPU is recorded once and then replayed.

A replay runs the same kernels on the same memory with one call from Python instead of thousands,
so that the GPU does not wait for Python. ``JITTOR_DDIM_CUDA_GRAPHS=off`` in the environment turns
it off.
"""

import logging
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., Sequence[Tensor]]

#: Calls before the recording: compilers, libraries and the memory pool settle in them.
_WARM_UP = 3

_log = logging.getLogger(__name__)


def replayed(function: Function, device: str) -> Function:
    """Return the function, replayed from its fourth call on where the device is a GPU.

    :param function: takes and returns Tensors on the device, of which it never asks for a value;
        what else it changes must be Tensors changed in place
    """
    wanted = os.environ.get("JITTOR_DDIM_CUDA_GRAPHS") != "off"
    return Replayed(function) if device == "cuda" and wanted else function


class Replayed:
    """A function that is recorded for inputs of one shape, and anew when the shapes change."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._can_record = True
        # One for all warm-ups: PyTorch keeps memory for each stream.
        self._stream = torch.cuda.Stream()
        self._forget([])

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Return what the function returns."""
        shapes = [x.shape for x in inputs]
        if shapes != self._shapes:
            self._forget(shapes)
        if self._graph is None and self._calls >= _WARM_UP and self._can_record:
            self._record(inputs)
        if self._graph is None:
            self._calls += 1
            return self._run_aside(inputs)
        for recorded, given in zip(self._inputs, inputs, strict=True):
            recorded.copy_(given)
        self._graph.replay()
        return [x.clone() for x in self._outputs]  # the next replay overwrites the recorded ones

    def _forget(self, shapes: Sequence[torch.Size]) -> None:
        self._shapes, self._calls = shapes, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Sequence[Tensor] = []
        self._outputs: Sequence[Tensor] = []

    def _run_aside(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run it on a stream of its own, as it will be recorded; see PyTorch's notes on graphs."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = self._function(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def _record(self, inputs: Sequence[Tensor]) -> None:
        """Record what a call would launch; nothing is computed."""
        self._inputs = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._outputs = self._function(*self._inputs)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[:1]
            _log.warning("No CUDA graph here, every kernel is launched by itself: %s", reason)
            self._can_record = False
        else:
            self._graph = graph
