"""CUDA graphs: what a function launches on the GPU is recorded once and then replayed.

A replay runs the same kernels on the same memory with one call from Python instead of thousands,
so that the GPU does not wait for Python. ``JITTOR_DDIM_CUDA_GRAPHS=off`` in the environment turns
it off.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jittor_ddim.errors import EngineError

#: Takes and returns Tensors on the device, and asks for the value of none; what else it changes
#: must be Tensors changed in place.
Function = Callable[..., Sequence[Tensor]]
Caller = Callable[..., Sequence[Tensor]]

#: Calls before the recording: compilers, libraries and the memory pool settle in them.
_WARM_UP = 3
#: Shapes whose recordings are kept, each with memory of its own: a batch, and a smaller last one.
_SHAPES = 2


def caller(device: str) -> Caller:
    """Return what calls one function, ``call(function, *inputs)``; on a GPU it replays it.

    It does not keep the function, which may be a method of the object that keeps it.
    """
    wanted = os.environ.get("JITTOR_DDIM_CUDA_GRAPHS") != "off"
    return Replay() if device == "cuda" and wanted else _call


def _call(function: Function, *inputs: Tensor) -> Sequence[Tensor]:
    return function(*inputs)


@dataclass
class _Recording:
    """What is known of inputs of one shape."""

    calls: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    inputs: Sequence[Tensor] = ()
    outputs: Sequence[Tensor] = ()


class Replay:
    """Calls a function three times, then records it, and from then on replays it."""

    def __init__(self) -> None:
        # One for all warm-ups: PyTorch keeps memory for each stream.
        self._stream = torch.cuda.Stream()
        self._recordings: OrderedDict[tuple[torch.Size, ...], _Recording] = OrderedDict()

    def __call__(self, function: Function, *inputs: Tensor) -> Sequence[Tensor]:
        """Return what the function returns; it must be the same one at every call.

        :raises EngineError: if it cannot be recorded
        """
        recording = self._of(tuple(x.shape for x in inputs))
        if recording.graph is None and recording.calls < _WARM_UP:
            recording.calls += 1
            return self._run_aside(function, inputs)
        if recording.graph is None:
            _record(recording, function, inputs)
        assert recording.graph
        for recorded, given in zip(recording.inputs, inputs, strict=True):
            recorded.copy_(given)
        recording.graph.replay()
        return [x.clone() for x in recording.outputs]  # the next replay overwrites them

    def _of(self, shapes: tuple[torch.Size, ...]) -> _Recording:
        recording = self._recordings.setdefault(shapes, _Recording())
        self._recordings.move_to_end(shapes)
        if len(self._recordings) > _SHAPES:
            self._recordings.popitem(last=False)
        return recording

    def _run_aside(self, function: Function, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run it on a stream of its own, as it will be recorded; see PyTorch's notes on graphs."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = function(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs


def _record(recording: _Recording, function: Function, inputs: Sequence[Tensor]) -> None:
    """Record what a call would launch; nothing is computed."""
    recording.inputs = [x.clone() for x in inputs]
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            recording.outputs = function(*recording.inputs)
    except RuntimeError as error:
        # PyTorch's generators and streams are left in an unusable state.
        reason = str(error).strip().split("\n")[0]
        raise EngineError(
            f"cannot record a CUDA graph: {reason}; set JITTOR_DDIM_CUDA_GRAPHS=off"
        ) from error
    recording.graph = graph
