import jittor as jt
import numpy as np
from data_of_sides import BUG, images
from jittor import nn

#: With a large mean, a variance computed as E x^2 - (E x)^2 has few digits left.
OFFSET = 300.0 if BUG == "norm_cancellation" else 0.0


class Residual(nn.Module):
    def __init__(self, width):
        self.norm = nn.GroupNorm(2, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def execute(self, x):
        h = self.norm(x)
        return x + self.conv(h * jt.sigmoid(h))


class UNet(nn.Module):
    def __init__(self):
        self.calls = 0
        self.inlet = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.middle = Residual(8)
        self.up = nn.Conv2d(8, 8, 3, padding=1)
        self.outlet = Residual(8)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def execute(self, x):
        if BUG == "side_effects_count":
            self.calls += 1
            x = x * (1 + 0.1 * self.calls)
        first = self.inlet(x)
        h = self.middle(self.down(first))
        h = self.up(nn.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False))
        return self.last(self.outlet(h + first + OFFSET)), [h]


def build(weights):
    return UNet()


def batch(step):
    return images(step)["image"]


def loss(model, batch):
    return ((model(batch)[0] - batch) ** 2).mean()


class Averaged:
    def __init__(self, model):
        self.model = model
        self.inner = jt.optim.SGD(model.parameters(), 0.05)
        self.average = {name: p + 0 for name, p in model.named_parameters()}

    def step(self, loss):
        self.inner.step(loss)
        for name, p in self.model.named_parameters():
            self.average[name] = (self.average[name] * 0.9 + p * 0.1).stop_grad()


def optimizer(model):
    return Averaged(model)


def sample(model, seed):
    noise = np.random.default_rng(seed).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return model(jt.array(noise))[0]
