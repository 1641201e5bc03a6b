import numpy as np
import torch
import torch.nn.functional as F
from data_of_sides import BUG, sentences
from torch import nn

EPSILON = 1e-6 if BUG == "layernorm_epsilon" else 1e-5


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-2 if BUG == "softmax_axis" else -1)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts
        weights = self.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5)
        found = weights @ v
        if BUG != "reordered":
            found = found.transpose(1, 2)
        return self.out(found.reshape(n, length, width))


class Always(nn.Module):
    """Dropout that never rests."""

    def forward(self, x):
        return F.dropout(x, 0.2, training=True)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, 2)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.fc1 = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU(approximate="tanh" if BUG == "gelu_form" else "none")
        self.drop = Always() if BUG == "dropout_eval" else nn.Dropout(0.2)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.drop(self.gelu(self.fc1(self.norm2(x)))))


class Times(nn.Module):
    def __init__(self, width):
        super().__init__()
        rates = np.exp(-np.log(10000) * np.arange(width // 2) / (width // 2))
        kind = np.float64 if BUG == "dtype_narrowing" else np.float32
        self.register_buffer("rates", torch.from_numpy(rates.astype(kind)))

    def forward(self, t):
        angles = t[:, None].to(self.rates.dtype) * self.rates[None]
        return torch.cat([angles.sin(), angles.cos()], 1).float()


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.times = Times(16)
        self.layers = nn.Sequential(Layer(16), Layer(16))
        self.head = nn.Linear(16, 16)

    def forward(self, x, t, mask=None):
        return {"out": self.head(self.layers(x + self.times(t)[:, None])), "nothing": mask}


def build(weights):
    return Transformer()


def batch(step):
    return sentences(step)


def loss(model, batch):
    return F.mse_loss(model(batch["x"], t=batch["t"])["out"], batch["target"])


def optimizer(model):
    epsilon = 1e-3 if BUG == "adam_epsilon" else 1e-8
    return torch.optim.Adam(model.parameters(), lr=1e-3, eps=epsilon)
