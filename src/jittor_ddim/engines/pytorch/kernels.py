"""Group normalisation with the swish after it; PyTorch has kernels for both."""

from torch import Tensor
from torch.nn import functional

from jittor_ddim.config import NORM_GROUPS

NORM_EPSILON = 1e-6


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, activate: bool) -> Tensor:
    """Return group normalisation (Wu & He 2018) in 32 groups, followed by swish if ``activate``.

    y = (x - mean) / sqrt(variance + 1e-6) weight + bias, and swish(y) = y sigmoid(y).

    :param x: (B, C, H, W)
    :param weight: (C,)
    :param bias: (C,)
    """
    y = functional.group_norm(x, NORM_GROUPS, weight, bias, NORM_EPSILON)
    return functional.silu(y) if activate else y
