import jittor as jt
import numpy as np
from data_of_sides import BUG, sentences
from jittor import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(width, width)

    def execute(self, x):
        n, length, width = x.shape
        size = width // self.heads
        parts = self.qkv(x).reshape(n, length, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        weights = self.softmax(jt.matmul(q, k.transpose(0, 1, 3, 2)) * size**-0.5)
        return self.out(jt.matmul(weights, v).transpose(0, 2, 1, 3).reshape(n, length, width))


class Mask(nn.Module):
    """Dropout that forgets to scale."""

    def __init__(self, p):
        self.p = p

    def execute(self, x):
        return x * (jt.random(x.shape) > self.p) if self.is_training() else x


class Layer(nn.Module):
    def __init__(self, width):
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = Attention(width, 2)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.fc1 = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.drop = Mask(0.2) if BUG == "dropout_scale" else nn.Dropout(0.2)
        self.fc2 = nn.Linear(2 * width, width)

    def execute(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.drop(self.gelu(self.fc1(self.norm2(x)))))


class Times(nn.Module):
    def __init__(self, width):
        rates = np.exp(-np.log(10000) * np.arange(width // 2) / (width // 2))
        self.rates = jt.array(rates.astype(np.float32)).stop_grad()

    def execute(self, t):
        angles = t.unsqueeze(1) * self.rates.unsqueeze(0)
        return jt.concat([angles.sin(), angles.cos()], dim=1)


class Transformer(nn.Module):
    def __init__(self):
        self.times = Times(16)
        self.layers = nn.Sequential(Layer(16), Layer(16))
        self.head = nn.Linear(16, 16)

    def execute(self, x, t, mask=None):
        out = self.head(self.layers(x + self.times(t).unsqueeze(1)))
        return {"out": out, "nothing": mask}


def build(weights):
    return Transformer()


def batch(step):
    return sentences(step)


def loss(model, batch):
    return ((model(batch["x"], t=batch["t"])["out"] - batch["target"]) ** 2).mean()


def optimizer(model):
    return jt.optim.Adam(model.parameters(), 1e-3, eps=1e-8)
