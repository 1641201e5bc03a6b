"""3x3 convolutions by winograd.h, and their gradients."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jittor_ddim.engines.kernels import use_winograd
from jittor_ddim.engines.pytorch.compiled import winograd_functions
from jittor_ddim.errors import MachineError

_LAST = torch.channels_last
_Sizes = ctypes.c_int64 * 5  # batch, height, width, in, out


def serves(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Tell whether winograd.h computes this: in float32 on a CPU, and not while compiling."""
    return (
        not torch.compiler.is_compiling()
        and (*weight.shape[2:], stride, padding) == (3, 3, 1, 1)
        and x.device.type == weight.device.type == "cpu"
        and x.ndim == 4
        and x.shape[1] == weight.shape[1]
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and use_winograd(weight.shape[1], weight.shape[0])
        and winograd_functions() is not None
    )


class Convolution(torch.autograd.Function):
    """A convolution with gradients; only those asked for are computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: str) -> Tensor:
        """Compute the result and keep what the gradient needs."""
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return convolve(x, weight, bias, layer)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, dy: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs that need them."""
        x, weight = (_channels_last(tensor) for tensor in ctx.saved_tensors)
        dy, sizes = _channels_last(dy), _sizes(x, weight)
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _call(ctx.layer, "backward_input", sizes, dy, weight, dx)
        if any(ctx.needs_input_grad[1:]):
            dweight, dbias = torch.empty_like(weight), weight.new_empty(len(weight))
            _call(ctx.layer, "backward_weights", sizes, x, dy, dweight, dbias)
        return dx, dweight, dbias, None


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, layer: str, packed: Tensor | None = None
) -> Tensor:
    """Return a convolution that keeps the image's size.

    :param packed: what :func:`pack` made of the weight, if it was called
    """
    x = _channels_last(x)
    shape = (len(x), len(weight), *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_LAST)
    filters = _channels_last(weight) if packed is None else packed
    _call(layer, "forward", _sizes(x, weight), x, filters, packed is not None, bias, y)
    return y


def pack(weight: Tensor, layer: str) -> Tensor:
    """Return a weight transformed as :func:`convolve` reads it."""
    out_channels, in_channels = weight.shape[:2]
    sizes, size = _Sizes(0, 0, 0, in_channels, out_channels), torch.empty(1, dtype=torch.int32)
    _call(layer, "packed_size", sizes, size)
    packed = weight.new_empty(int(size))
    _call(layer, "pack", sizes, _channels_last(weight), packed)
    return packed


def _sizes(x: Tensor, weight: Tensor) -> ctypes.Array[ctypes.c_int64]:
    return _Sizes(len(x), *x.shape[2:], weight.shape[1], weight.shape[0])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=_LAST)


def _call(layer: str, name: str, sizes: Any, *arguments: Tensor | int) -> None:
    """Run a function of winograd_functions.cc, with each Tensor's memory in its place.

    :raises MachineError: naming the layer, if the function fails
    """
    pointers = [
        ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_int64(a)
        for a in arguments
    ]
    function = getattr(winograd_functions(), f"ddim_{name}")
    function.restype = ctypes.c_char_p
    if failure := function(sizes, *pointers):
        raise MachineError(
            f"{layer}: a custom kernel failed: {failure.decode(errors='replace')}; "
            "JITTOR_DDIM_KERNELS=plain avoids these"
        )
