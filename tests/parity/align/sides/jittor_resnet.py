import jittor as jt
from data_of_sides import BUG, RATES, images
from jittor import nn


class BatchNorm(nn.BatchNorm):
    """With the variance of n - 1, as the other framework remembers it."""

    def execute(self, x):
        before = self.running_var + 0
        out = super().execute(x)
        if self.is_train and BUG != "batchnorm_variance":
            n = x.numel() // x.shape[1]
            biased = (self.running_var - before * (1 - self.momentum)) / self.momentum
            after = before * (1 - self.momentum) + self.momentum * biased * (n / (n - 1))
            self.running_var.update(after)
        return out


class Block(nn.Module):
    def __init__(self, width):
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = BatchNorm(width, momentum=0.1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def execute(self, x):
        h = nn.relu(self.norm1(self.conv1(self.relu(x))))
        return self.conv2(h) + x


class ResNet(nn.Module):
    def __init__(self):
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.even = nn.Conv2d(8, 8, 4)
        self.head = nn.Linear(8, 5)

    def execute(self, x):
        x = self.blocks(self.pool(self.stem(x)))
        x = self.even(nn.pad(x, [1, 2, 1, 2]))
        return self.head(x.mean(dims=[2, 3]))


def build(weights):
    return ResNet()


def batch(step):
    return images(step)


def loss(model, batch):
    return nn.cross_entropy_loss(model(batch["image"]), batch["label"])


class Scheduled:
    def __init__(self, model):
        self.inner = jt.optim.SGD(model.parameters(), RATES[0], momentum=0.9)
        self.count = 0

    def step(self, loss):
        self.inner.lr = RATES[self.count]
        self.count += 1
        self.inner.step(loss)


def optimizer(model):
    return Scheduled(model)
