import jittor as jt
from data_of_ours import CONFIG, WEIGHTS, noisy

from jittor_ddim.engines.jittor.unet import Model


def build(weights):
    model = Model(CONFIG, "float32")
    model.load_state_dict(WEIGHTS)
    return model


def batch(step):
    return noisy(step)


def loss(model, batch):
    return ((model(batch["x"], batch["t"]) - batch["noise"]) ** 2).sum((1, 2, 3)).mean()


def optimizer(model):
    return jt.optim.SGD(model.parameters(), 1e-5)
