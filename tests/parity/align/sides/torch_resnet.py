import torch
import torch.nn.functional as F
from data_of_sides import BUG, RATES, images
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width, momentum=0.01 if BUG == "batchnorm_momentum" else 0.1)
        self.relu = nn.ReLU(inplace=BUG == "side_effects")
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        h = F.relu(self.norm1(self.conv1(self.relu(x))))
        return self.conv2(h) + x


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        if BUG == "initialisation":
            nn.init.kaiming_normal_(self.stem.weight)
        counted = BUG != "count_include_pad"
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=counted)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.even = nn.Conv2d(8, 8, 4)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.blocks(self.pool(self.stem(x)))
        x = self.even(F.pad(x, (2, 1, 2, 1) if BUG == "even_padding" else (1, 2, 1, 2)))
        return self.head(x.mean((2, 3)))


def build(weights):
    return ResNet()


def batch(step):
    found = images(step + 1 if BUG == "data_order" else step)
    if BUG == "normalisation":
        found["image"] = (found["image"] - 0.1) / 0.9
    return found


def loss(model, batch):
    reduction = "sum" if BUG == "loss_reduction" else "mean"
    return F.cross_entropy(model(batch["image"]), batch["label"], reduction=reduction)


class Scheduled:
    def __init__(self, model):
        self.inner = torch.optim.SGD(model.parameters(), RATES[0], momentum=0.9)
        self.model = model
        self.count = int(BUG == "rate_off_by_one")

    def step(self, loss):
        self.inner.param_groups[0]["lr"] = RATES[self.count]
        self.count += 1
        self.inner.zero_grad()
        loss.backward()
        if BUG == "gradient_clipping":
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.inner.step()


def optimizer(model):
    return Scheduled(model)
