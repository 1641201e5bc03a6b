"""The operations by this package's kernels; :mod:`.plain` describes each.

Between the network's edges a Var is (B, C / block, H, W, block): channels in blocks, the layout
for which the device's convolutions are fastest (:func:`channels_beside`). Images at the edges are
(B, C, H, W), and :func:`convolution` takes and returns either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jittor as jt
from jittor import Var

from jittor_ddim.engines.jittor.operations.attention import Attention
from jittor_ddim.engines.jittor.operations.code import Numbers, on_gpu
from jittor_ddim.engines.jittor.operations.convolution import (
    Convolution,
    convolve,
    out_shape,
    pack,
    packing,
)
from jittor_ddim.engines.jittor.operations.group_norm import GroupNorm
from jittor_ddim.engines.jittor.operations.plain import Padding
from jittor_ddim.engines.jittor.operations.precision import (
    multiplies_float32,
    multiplying_in,
    precision_numbers,
)
from jittor_ddim.engines.jittor.operations.vectors import has_avx512

__all__ = [
    "attention",
    "channels_beside",
    "concatenate",
    "convolution",
    "double",
    "group_norm",
    "halve",
    "multiplying_in",
    "packing_into",
    "to_image",
]

#: Channels beside each other where not all are.
_NARROW = 8
#: Channels of the images at the network's edges; between layers there are more.
_OF_IMAGES = (1, 3)

_packed: ContextVar[dict[Any, Var] | None] = ContextVar("packed", default=None)


@contextmanager
def packing_into(packed: dict[Any, Var]) -> Iterator[None]:
    """Lay out weights once meanwhile, as they do not change, and not at every call.

    :param packed: filled here: the weights of each layer as its kernel reads them, by the layer
        and, where the layout depends on it, the shape of x
    """
    token = _packed.set(packed)
    try:
        yield
    finally:
        _packed.reset(token)


def convolution(
    x: Var,
    weight: Var,
    bias: Var,
    stride: int,
    padding: Padding,
    layer: str = "",
) -> Var:
    """Return the convolution of x by weight (C_out, C, K, K), plus bias (C_out,).

    :param layer: whose convolution it is, for what a kernel says if it fails
    """
    problem, packed = _problem(x, weight, stride, padding), _packed.get()
    if packed is None or not jt.flags.no_grad:
        y = Convolution.apply(x, weight, bias, problem, layer)
    else:
        key = (layer, *packing(problem))
        if key not in packed:
            packed[key] = pack(weight, problem, layer)
        y = convolve(x, packed[key], bias, {**problem, "packed": 1}, layer)
    return y.reshape(out_shape(problem))


def group_norm(
    x: Var,
    weight: Var,
    bias: Var,
    groups: int,
    activate: bool,
    shift: Var | None = None,
    layer: str = "",
) -> Var:
    """Return group normalisation of x + shift, followed by swish if ``activate``."""
    return GroupNorm.apply(x, weight, bias, shift, groups, activate, layer)


def attention(q: Var, k: Var, v: Var, layer: str = "") -> Var:
    """Return softmax(q k^T / sqrt(C)) v over all pixels."""
    return Attention.apply(q, k, v, layer)


def concatenate(first: Var, second: Var) -> Var:
    """Return the channels of both."""
    both = (first.shape[1] * first.shape[4]) + (second.shape[1] * second.shape[4])
    if first.shape[4] == second.shape[4] == channels_beside(both):
        return jt.concat([first, second], dim=1)
    return jt.concat([_channels_last(first), _channels_last(second)], dim=4)


def double(x: Var) -> Var:
    """Return x at twice the resolution, every pixel four times."""
    batch, blocks, height, width, block = x.shape
    x = x.reshape(batch * blocks, height, 1, width, 1, block).broadcast(
        [batch * blocks, height, 2, width, 2, block]
    )
    return x.reshape(batch, blocks, 2 * height, 2 * width, block)


def halve(x: Var) -> Var:
    """Return x at half the resolution, the mean of 2x2 pixels."""
    batch, blocks, height, width, block = x.shape
    pairs = x.reshape(batch * blocks, height // 2, 2, width // 2, 2, block)
    return pairs.mean(dims=(2, 4)).reshape(batch, blocks, height // 2, width // 2, block)


def to_image(x: Var) -> Var:
    """Return x as (B, C, H, W)."""
    if x.ndim == 4:
        return x
    batch, blocks, height, width, block = x.shape
    if block == 1:
        return x.reshape(batch, blocks, height, width)
    return x.transpose(0, 1, 4, 2, 3).reshape(batch, blocks * block, height, width)


def channels_beside(channels: int) -> int:
    """Return how many channels lie beside each other between layers.

    On a GPU one, (B, C, H, W), in float32; all of them in other precisions, for which there are
    matrix units that want channels last. On a CPU all of them where oneDNN has AVX-512: its best
    kernels for it want the same. Else eight, the numbers of a register, if they are whole eights:
    1.2 to 1.7 times the speed of channels last with AVX2.
    """
    if on_gpu():
        return 1 if multiplies_float32() else channels
    return channels if has_avx512() or channels % _NARROW else _NARROW


def _channels_last(x: Var) -> Var:
    """Return x with all its channels in one block."""
    batch, blocks, height, width, block = x.shape
    if blocks == 1:
        return x
    return x.transpose(0, 2, 3, 1, 4).reshape(batch, 1, height, width, blocks * block)


def _problem(x: Var, weight: Var, stride: int, padding: Padding) -> Numbers:
    """The numbers that the convolutions' headers read."""
    out_channels, in_channels, kernel, _ = weight.shape
    height, width = x.shape[2:4]
    return {
        "batch": x.shape[0], "in": in_channels, "out": out_channels, "kernel": kernel,
        "height": height, "width": width, "stride": stride,
        **dict(zip(("top", "left", "bottom", "right"), padding, strict=True)),
        "in_block": x.shape[4] if x.ndim == 5 else 0,
        "out_block": 0 if out_channels in _OF_IMAGES else channels_beside(out_channels),
        "packed": 0, **precision_numbers(),
    }  # fmt: skip
