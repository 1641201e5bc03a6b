"""What the layers compute with: PyTorch's own operations, and 3x3 convolutions by winograd.h."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional

from jittor_ddim.architecture import NORM_EPSILON
from jittor_ddim.engines.pytorch import winograd

#: Rows and columns of zeros around an image: above, left, below, right.
Padding = tuple[int, int, int, int]

_packed: ContextVar[dict[str, Tensor] | None] = ContextVar("packed", default=None)


@contextmanager
def packing_into(packed: dict[str, Tensor]) -> Iterator[None]:
    """Transform weights once meanwhile, as they do not change, and not at every call.

    :param packed: filled here: the weights as winograd.h reads them, by the layer
    """
    token = _packed.set(packed)
    try:
        yield
    finally:
        _packed.reset(token)


def layout(device: str, precision: str) -> torch.memory_format:
    """Return the order of an image in memory in which convolutions are fastest.

    Channels last is what oneDNN and a GPU's matrix units work in: Inception made 3.4 instead of
    2.2 images/s with it on 2 shared cores. A GPU in true float32 uses no matrix units; there an
    H200 took 1.1 to 1.5 times as long with it as diffusers' network without.
    """
    in_order = device == "cuda" and precision == "float32"
    return torch.contiguous_format if in_order else torch.channels_last


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Padding, layer: str
) -> Tensor:
    """Return the convolution of x (B, C, H, W) by weight (C_out, C, K, K), plus bias (C_out,).

    :param padding: zeros above, left, below and right
    :param layer: whose convolution it is, for what a kernel says if it fails
    """
    above, left, below, right = padding
    if (above, left) != (below, right):
        x, above, left = functional.pad(x, (left, right, above, below)), 0, 0
    elif bias is not None and winograd.serves(x, weight, stride, above):
        if torch.is_grad_enabled():
            return winograd.Convolution.apply(x, weight, bias, layer)
        packed = _packed.get()
        if packed is None:
            return winograd.convolve(x, weight, bias, layer)
        if layer not in packed:
            packed[layer] = winograd.pack(weight, layer)
        return winograd.convolve(x, weight, bias, layer, packed[layer])
    return functional.conv2d(x, weight, bias, stride, (above, left))


def group_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    activate: bool,
    shift: Tensor | None = None,
) -> Tensor:
    """Return group normalisation (Wu & He 2018), followed by swish if ``activate``.

    y = (x - mean) / sqrt(variance + 1e-6) weight + bias, and swish(y) = y sigmoid(y).

    :param x: (B, C, H, W)
    :param weight: (C,)
    :param bias: (C,)
    :param groups: into which the C channels are divided
    :param shift: (B, C), added to x before
    """
    if shift is not None:
        x = x + shift.unsqueeze(2).unsqueeze(3)
    y = functional.group_norm(x, groups, weight, bias, NORM_EPSILON)
    return functional.silu(y) if activate else y


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(C)) v over all pixels, for q, k, v (B, C, H, W)."""
    # (B, 1, pixels, C): with channels last nothing is copied.
    query, key, value = (part.flatten(2).transpose(1, 2).unsqueeze(1) for part in (q, k, v))
    h = functional.scaled_dot_product_attention(query, key, value)
    return h.squeeze(1).transpose(1, 2).reshape(q.shape)


def concatenate(first: Tensor, second: Tensor) -> Tensor:
    """Return the channels of both."""
    return torch.cat([first, second], dim=1)


def double(x: Tensor) -> Tensor:
    """Return x at twice the resolution, every pixel four times."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """Return x at half the resolution, the mean of 2x2 pixels."""
    return functional.avg_pool2d(x, 2, 2)
