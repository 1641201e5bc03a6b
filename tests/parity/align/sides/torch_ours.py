import torch
from data_of_ours import CONFIG, WEIGHTS, noisy

from jittor_ddim.engines.pytorch.unet import Model


def build(weights):
    model = Model(CONFIG, "float32")
    model.load_state_dict({name: torch.from_numpy(array) for name, array in WEIGHTS.items()})
    return model


def batch(step):
    return noisy(step)


def loss(model, batch):
    return ((model(batch["x"], batch["t"]) - batch["noise"]) ** 2).sum((1, 2, 3)).mean()


def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=1e-5)
