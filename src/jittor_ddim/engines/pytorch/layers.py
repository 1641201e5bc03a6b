"""The U-Net's building blocks, with the official names of their parameters."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Module, functional

from jittor_ddim.engines.pytorch import operations
from jittor_ddim.engines.pytorch.operations import Padding
from jittor_ddim.ranks import Rank


class TimestepEmbedding(Module):
    """Sinusoidal embeddings of timesteps.

    Half sines, half cosines of t / 10000^(i / (channels/2 - 1)) (Vaswani et al. 2017, section 3.5,
    in tensor2tensor's variant). The frequencies move to the device with the network: a CUDA graph
    cannot copy them from the host.
    """

    _frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        exponents = np.arange(half, dtype=np.float32) * -(math.log(10000) / (half - 1))
        self.register_buffer("_frequencies", torch.from_numpy(np.exp(exponents)), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Return (B, channels) for t (B,), float32."""
        angles = t.unsqueeze(1) * self._frequencies.unsqueeze(0)
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


class ClassEmbedding(Module):
    """A learnt vector for each class, and one for no class in the last row."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes + 1, channels))

    def forward(self, rows: Tensor) -> Tensor:
        """Return (B, channels) for one-hot rows (B, classes + 1)."""
        return torch.matmul(rows, self.weight)


def swish(x: Tensor) -> Tensor:
    """Return x sigmoid(x)."""
    return functional.silu(x)


class Conv2d(Module):
    """A convolution with a square kernel; by default the image keeps its size."""

    layer = "a convolution"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: Padding | None = None,
    ) -> None:
        super().__init__()
        layer = nn.Conv2d(in_channels, out_channels, kernel)
        self.weight, self.bias = layer.weight, layer.bias
        self._stride = stride
        same = kernel // 2
        self._padding = (same, same, same, same) if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, H', W') for x (B, C_in, H, W)."""
        return operations.convolution(
            x, self.weight, self.bias, self._stride, self._padding, self.layer
        )


class GroupNorm(Module):
    """Group normalisation, and swish after it where one follows."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._groups = groups

    def forward(self, x: Tensor, activate: bool = False, shift: Tensor | None = None) -> Tensor:
        """Normalise x (B, C, H, W), or x + shift for a shift (B, C) of whole channels."""
        return operations.group_norm(x, self.weight, self.bias, self._groups, activate, shift)


class Upsample(Module):
    """Double the resolution by repeating pixels, then a 3x3 convolution if ``with_conv``."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3) if with_conv else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W) for x (B, C, H, W)."""
        x = operations.double(x)
        return self.conv(x) if self.conv else x


class Downsample(Module):
    """Halve the resolution by a strided 3x3 convolution, or by averaging 2x2 pixels."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        super().__init__()
        # Padded right and below only, as TensorFlow's "SAME" does for stride 2.
        self.conv = Conv2d(channels, channels, 3, 2, (0, 0, 1, 1)) if with_conv else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H/2, W/2) for x (B, C, H, W)."""
        return self.conv(x) if self.conv else operations.halve(x)


class Dropout(nn.Dropout):
    """Dropout; a rank draws the masks of the micro-batch of all ranks and uses its rows of them.

    So any number of ranks drops the same, at the price of drawing numbers for all of them.
    """

    rank = Rank()

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W) for input (B, C, H, W)."""
        if self.rank.is_alone or self.p == 0:
            return super().forward(input)
        first = self.rank.index * len(input)
        masks = super().forward(torch.cat([torch.ones_like(input)] * self.rank.size))
        return input * masks[first : first + len(input)]


class ResnetBlock(Module):
    """Two convolutions around the time embedding, and a shortcut past both."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int,
        dropout: float,
        conv_shortcut: bool,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels, groups)
        self.conv1 = Conv2d(in_channels, out_channels, 3)
        self.temb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = GroupNorm(out_channels, groups)
        self.dropout = Dropout(dropout)
        self.conv2 = Conv2d(out_channels, out_channels, 3)
        self.conv_shortcut = self.nin_shortcut = None
        if in_channels != out_channels:
            if conv_shortcut:
                self.conv_shortcut = Conv2d(in_channels, out_channels, 3)
            else:
                self.nin_shortcut = Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Return (B, C_out, H, W) for x (B, C_in, H, W) and temb (B, temb_channels)."""
        h = self.conv1(self.norm1(x, activate=True))
        h = self.norm2(h, activate=True, shift=self.temb_proj(swish(temb)))
        h = self.conv2(self.dropout(h))
        shortcut = self.conv_shortcut or self.nin_shortcut
        return (shortcut(x) if shortcut else x) + h


class AttnBlock(Module):
    """Single-head self-attention over all pixels, softmax(q k^T / sqrt(C)) v, and a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels, groups)
        self.q = Conv2d(channels, channels, 1)
        self.k = Conv2d(channels, channels, 1)
        self.v = Conv2d(channels, channels, 1)
        self.proj_out = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) for x (B, C, H, W)."""
        h = self.norm(x)
        h = operations.attention(self.q(h), self.k(h), self.v(h))
        return x + self.proj_out(h)
