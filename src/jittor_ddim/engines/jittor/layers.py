"""The U-Net's building blocks, with the official names of their parameters."""

import math

import jittor as jt
import numpy as np
from jittor import Module, Var, nn

from jittor_ddim.engines.jittor.operations import Padding, operations
from jittor_ddim.ranks import Rank


class TimestepEmbedding(Module):
    """Sinusoidal embeddings of timesteps.

    Half sines, half cosines of t / 10000^(i / (channels/2 - 1)) (Vaswani et al. 2017, section 3.5,
    in tensor2tensor's variant).
    """

    def __init__(self, channels: int) -> None:
        half = channels // 2
        exponents = np.arange(half, dtype=np.float32) * -(math.log(10000) / (half - 1))
        self._frequencies = np.exp(exponents)

    def execute(self, t: Var) -> Var:
        """Return (B, channels) for t (B,), float32."""
        angles = t.unsqueeze(1) * jt.array(self._frequencies).unsqueeze(0)
        return jt.concat([jt.sin(angles), jt.cos(angles)], dim=1)


class ClassEmbedding(Module):
    """A learnt vector for each class, and one for no class in the last row."""

    def __init__(self, classes: int, channels: int) -> None:
        self.weight = jt.zeros(classes + 1, channels)

    def execute(self, rows: Var) -> Var:
        """Return (B, channels) for one-hot rows (B, classes + 1)."""
        return jt.matmul(rows, self.weight)


def swish(x: Var) -> Var:
    """Return x sigmoid(x)."""
    return x * jt.sigmoid(x)


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
        layer = nn.Conv2d(in_channels, out_channels, kernel)
        self.weight, self.bias = layer.weight, layer.bias
        self._stride = stride
        same = kernel // 2
        self._padding = (same, same, same, same) if padding is None else padding

    def execute(self, x: Var) -> Var:
        """Return (B, C_out, H', W') for x (B, C_in, H, W)."""
        return operations().convolution(
            x, self.weight, self.bias, self._stride, self._padding, self.layer
        )


class GroupNorm(Module):
    """Group normalisation, and swish after it where one follows."""

    layer = "a group norm"

    def __init__(self, channels: int, groups: int) -> None:
        self.weight = jt.ones(channels)
        self.bias = jt.zeros(channels)
        self._groups = groups

    def execute(self, x: Var, activate: bool = False, shift: Var | None = None) -> Var:
        """Normalise x (B, C, H, W), or x + shift for a shift (B, C) of whole channels."""
        return operations().group_norm(
            x, self.weight, self.bias, self._groups, activate, shift, self.layer
        )


class Upsample(Module):
    """Double the resolution by repeating pixels, then a 3x3 convolution if ``with_conv``."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        self.conv = Conv2d(channels, channels, 3) if with_conv else None

    def execute(self, x: Var) -> Var:
        """Return (B, C, 2H, 2W) for x (B, C, H, W)."""
        x = operations().double(x)
        return self.conv(x) if self.conv else x


class Downsample(Module):
    """Halve the resolution by a strided 3x3 convolution, or by averaging 2x2 pixels."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        # Padded right and below only, as TensorFlow's "SAME" does for stride 2.
        self.conv = Conv2d(channels, channels, 3, 2, (0, 0, 1, 1)) if with_conv else None

    def execute(self, x: Var) -> Var:
        """Return (B, C, H/2, W/2) for x (B, C, H, W)."""
        return self.conv(x) if self.conv else operations().halve(x)


class Dropout(nn.Dropout):
    """Dropout; a rank draws the masks of the micro-batch of all ranks and uses its rows of them.

    So any number of ranks drops the same, at the price of drawing numbers for all of them.
    """

    rank = Rank()

    def execute(self, input: Var) -> Var:
        """Return (B, C, H, W) for input (B, C, H, W)."""
        if self.rank.is_alone or self.p == 0:
            return super().execute(input)
        first = self.rank.index * len(input)
        masks = super().execute(jt.concat([jt.ones_like(input)] * self.rank.size))
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

    def execute(self, x: Var, temb: Var) -> Var:
        """Return (B, C_out, H, W) for x (B, C_in, H, W) and temb (B, temb_channels)."""
        h = self.conv1(self.norm1(x, activate=True))
        h = self.norm2(h, activate=True, shift=self.temb_proj(swish(temb)))
        h = self.conv2(self.dropout(h))
        shortcut = self.conv_shortcut or self.nin_shortcut
        return (shortcut(x) if shortcut else x) + h


class AttnBlock(Module):
    """Single-head self-attention over all pixels, softmax(q k^T / sqrt(C)) v, and a shortcut."""

    layer = "an attention block"

    def __init__(self, channels: int, groups: int) -> None:
        self.norm = GroupNorm(channels, groups)
        self.q = Conv2d(channels, channels, 1)
        self.k = Conv2d(channels, channels, 1)
        self.v = Conv2d(channels, channels, 1)
        self.proj_out = Conv2d(channels, channels, 1)

    def execute(self, x: Var) -> Var:
        """Return (B, C, H, W) for x (B, C, H, W)."""
        h = self.norm(x)
        h = operations().attention(self.q(h), self.k(h), self.v(h), self.layer)
        return x + self.proj_out(h)
