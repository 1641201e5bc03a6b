"""What the layers compute with: PyTorch's own operations."""

from torch import Tensor
from torch.nn import functional

from jittor_ddim.architecture import NORM_EPSILON


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
