"""The learning rate of each step."""

import math

from jittor_ddim.config import OptimConfig


def lr_at(optim: OptimConfig, step: int, last_step: int) -> float:
    """Return the learning rate of a step.

    With a warm-up of w steps it rises linearly from lr / w at step 1 to lr at step w. With
    ``decay: cosine`` it then falls to 0 at the last step, by half a period of a cosine (Loshchilov
    & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts), and stays there.

    :param step: from 1
    :param last_step: of the run
    """
    if step < optim.warmup_steps:
        return optim.lr * step / optim.warmup_steps
    if optim.decay == "constant":
        return optim.lr
    peak = max(1, optim.warmup_steps)
    progress = min(1.0, (step - peak) / max(1, last_step - peak))
    return optim.lr * (1 + math.cos(math.pi * progress)) / 2
