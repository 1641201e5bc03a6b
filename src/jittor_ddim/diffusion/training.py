"""What the network is given in training, and what it should answer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.steps import diffuse

Floats = NDArray[np.float32]


def make_example(
    schedule: Schedule, x0: Floats, t: NDArray[Any], eps: Floats
) -> tuple[Floats, NDArray[Any], Floats]:
    """Return (x_t, t, target): images diffused to their timesteps, and the noise in them.

    :param x0: (B, C, H, W), network input
    :param t: (B,), in 0 … T-1
    :param eps: (B, C, H, W), standard normal
    """
    return diffuse(x0, eps, schedule.alpha_bar[t].reshape(-1, 1, 1, 1)), t, eps
