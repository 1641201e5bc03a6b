"""The operations by Jittor's own, on (B, C, H, W): the oracle of the fused ones."""

from contextlib import AbstractContextManager, nullcontext

import jittor as jt
from jittor import Var, nn

from jittor_ddim.architecture import NORM_EPSILON

#: Rows and columns of zeros around an image: above, left, below, right.
Padding = tuple[int, int, int, int]


def multiplying_in(precision: str) -> AbstractContextManager[None]:
    """Change nothing: on a GPU Jittor's libraries decide."""
    return nullcontext()


def convolution(
    x: Var,
    weight: Var,
    bias: Var,
    stride: int,
    padding: Padding,
    layer: str = "",
) -> Var:
    """Return the convolution of x (B, C, H, W) by weight (C_out, C, K, K), plus bias (C_out,).

    :param padding: zeros above, left, below and right
    """
    above, left, below, right = padding
    if (above, left) == (below, right):
        return nn.conv2d(x, weight, bias, stride, (above, left))
    return nn.conv2d(nn.pad(x, (left, right, above, below)), weight, bias, stride)


def group_norm(
    x: Var,
    weight: Var,
    bias: Var,
    groups: int,
    activate: bool,
    shift: Var | None = None,
    layer: str = "",
) -> Var:
    """Return group normalisation (Wu & He 2018), followed by swish if ``activate``.

    y = (x - mean) / sqrt(variance + 1e-6) weight + bias, and swish(y) = y sigmoid(y). The mean is
    subtracted before squaring: Jittor's own E[x^2] - E[x]^2 cancels in float32.

    :param x: (B, C, H, W)
    :param weight: (C,)
    :param bias: (C,)
    :param groups: into which the C channels are divided
    :param shift: (B, C), added to x before
    """
    if shift is not None:
        x = x + shift.unsqueeze(2).unsqueeze(3)
    grouped = x.reshape(x.shape[0], groups, -1, x.shape[3])
    centred = grouped - _mean(grouped)
    variance = _mean(centred * centred)
    normalised = (centred / jt.sqrt(variance + NORM_EPSILON)).reshape(x.shape)
    y = normalised * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)
    return y * jt.sigmoid(y) if activate else y


def _mean(grouped: Var) -> Var:
    """Along rows first: Jittor adds one number after another, a million of them at 256x256."""
    return grouped.mean(dim=3, keepdims=True).mean(dim=2, keepdims=True)


def attention(q: Var, k: Var, v: Var, layer: str = "") -> Var:
    """Return softmax(q k^T / sqrt(C)) v over all pixels, for q, k, v (B, C, H, W)."""
    batch, channels = q.shape[:2]
    queries, keys, values = (part.reshape(batch, channels, -1) for part in (q, k, v))
    scores = jt.bmm(queries.transpose(0, 2, 1), keys) * channels**-0.5  # (B, queries, keys)
    return jt.bmm(values, nn.softmax(scores, dim=2).transpose(0, 2, 1)).reshape(q.shape)


def concatenate(first: Var, second: Var) -> Var:
    """Return the channels of both."""
    return jt.concat([first, second], dim=1)


def double(x: Var) -> Var:
    """Return x at twice the resolution, every pixel four times."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height, 1, width, 1).broadcast(
        [batch, channels, height, 2, width, 2]
    )
    return x.reshape(batch, channels, 2 * height, 2 * width)


def halve(x: Var) -> Var:
    """Return x at half the resolution, the mean of 2x2 pixels."""
    return nn.avg_pool2d(x, 2, 2)


def to_image(x: Var) -> Var:
    """Return x as (B, C, H, W)."""
    return x
