import numpy as np
import torch
import torch.nn.functional as F
from data_of_sides import BUG, images
from torch import nn

#: With a large mean, a variance computed as E x^2 - (E x)^2 has few digits left.
OFFSET = 300.0 if BUG == "norm_cancellation" else 0.0


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(2, width, eps=1e-6 if BUG == "groupnorm_epsilon" else 1e-5)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inlet = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.middle = Residual(8)
        self.up = nn.Conv2d(8, 8, 3, padding=1)
        self.outlet = Residual(8)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        first = self.inlet(x)
        h = self.middle(self.down(first))
        corners = BUG == "align_corners"
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=corners)
        h = self.up(h)
        return self.last(self.outlet(h + first + OFFSET)), (h,)


def build(weights):
    return UNet()


def batch(step):
    return images(step)["image"]


def loss(model, batch):
    return F.mse_loss(model(batch)[0], batch)


class Averaged:
    def __init__(self, model):
        self.model = model
        self.inner = torch.optim.SGD(model.parameters(), 0.05)
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    def step(self, loss):
        self.inner.zero_grad()
        loss.backward()
        if BUG == "ema_order":
            self.blend()
        self.inner.step()
        if BUG != "ema_order":
            self.blend()

    def blend(self):
        for name, p in self.model.named_parameters():
            self.average[name].lerp_(p.detach(), 0.1)


def optimizer(model):
    return Averaged(model)


def sample(model, seed):
    noise = np.random.default_rng(seed).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return model(torch.from_numpy(noise))[0]
