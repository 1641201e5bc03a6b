"""The U-Net's building blocks, with the official names of their parameters."""

import math

import jittor as jt
import numpy as np
from jittor import Module, Var, nn

from jittor_ddim.engines.jittor.kernels import group_norm


def timestep_embedding(t: Var, channels: int) -> Var:
    """Return sinusoidal embeddings (B, channels) of timesteps t (B,), float32.

    Half sines, half cosines of t / 10000^(i / (channels/2 - 1)) (Vaswani et al. 2017, section 3.5,
    in tensor2tensor's variant).
    """
    half = channels // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -(math.log(10000) / (half - 1)))
    angles = t.unsqueeze(1) * jt.array(frequencies).unsqueeze(0)
    return jt.concat([jt.sin(angles), jt.cos(angles)], dim=1)


def swish(x: Var) -> Var:
    """Return x sigmoid(x)."""
    return x * jt.sigmoid(x)


class GroupNorm(Module):
    """Group normalisation in 32 groups, and swish after it where one follows."""

    def __init__(self, channels: int) -> None:
        self.weight = jt.ones(channels)
        self.bias = jt.zeros(channels)

    def execute(self, x: Var, activate: bool = False) -> Var:
        """Normalise x (B, C, H, W); see :mod:`jittor_ddim.engines.jittor.kernels`."""
        return group_norm(x, self.weight, self.bias, activate)


class Upsample(Module):
    """Double the resolution by repeating pixels, then a 3x3 convolution if ``with_conv``."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if with_conv else None

    def execute(self, x: Var) -> Var:
        """Return (B, C, 2H, 2W) for x (B, C, H, W)."""
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height, 1, width, 1).broadcast(
            [batch, channels, height, 2, width, 2]
        )
        x = x.reshape(batch, channels, 2 * height, 2 * width)
        return self.conv(x) if self.conv else x


class Downsample(Module):
    """Halve the resolution by a strided 3x3 convolution, or by averaging 2x2 pixels."""

    def __init__(self, channels: int, with_conv: bool) -> None:
        self.conv = nn.Conv2d(channels, channels, 3, stride=2) if with_conv else None

    def execute(self, x: Var) -> Var:
        """Return (B, C, H/2, W/2) for x (B, C, H, W)."""
        if self.conv is None:
            return nn.avg_pool2d(x, 2, 2)
        # Padded right and below only, as TensorFlow's "SAME" does for stride 2.
        return self.conv(nn.pad(x, (0, 1, 0, 1)))


class ResnetBlock(Module):
    """Two convolutions around the time embedding, and a shortcut past both."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        dropout: float,
        conv_shortcut: bool,
    ) -> None:
        self.norm1 = GroupNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.temb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = GroupNorm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = self.nin_shortcut = None
        if in_channels != out_channels:
            if conv_shortcut:
                self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            else:
                self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def execute(self, x: Var, temb: Var) -> Var:
        """Return (B, C_out, H, W) for x (B, C_in, H, W) and temb (B, temb_channels)."""
        h = self.conv1(self.norm1(x, activate=True))
        h = h + self.temb_proj(swish(temb)).unsqueeze(2).unsqueeze(3)
        h = self.conv2(self.dropout(self.norm2(h, activate=True)))
        shortcut = self.conv_shortcut or self.nin_shortcut
        return (shortcut(x) if shortcut else x) + h


class AttnBlock(Module):
    """Single-head self-attention over all pixels, softmax(q k^T / sqrt(C)) v, and a shortcut."""

    def __init__(self, channels: int) -> None:
        self.norm = GroupNorm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def execute(self, x: Var) -> Var:
        """Return (B, C, H, W) for x (B, C, H, W)."""
        batch, channels = x.shape[:2]
        h = self.norm(x)
        q, k, v = (part(h).reshape(batch, channels, -1) for part in (self.q, self.k, self.v))
        scores = jt.bmm(q.transpose(0, 2, 1), k) * channels**-0.5  # (B, queries, keys)
        h = jt.bmm(v, nn.softmax(scores, dim=2).transpose(0, 2, 1))
        return x + self.proj_out(h.reshape(x.shape))
