"""What a sampler is given and what it yields."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: (x_t, t) -> (x0, eps) for a batch whose images are all at timestep t: one network call.
Model = Callable[[Any, float], tuple[Any, Any]]
#: k -> standard normal noise of x_T's shape for network call k, from 0.
Noise = Callable[[int], Any]


@dataclass(frozen=True)
class Step:
    """One step of a sampler.

    :ivar t: the timestep at which the network was called, an integer or a fraction
    :ivar t_next: the timestep of ``x_t``; -1 at the end, where x_t is x_0
    :ivar x_t: the state after the step, (B, C, H, W)
    :ivar x0: the image predicted at t, (B, C, H, W); clipped to [-1, 1] by ``ddpm_noisy`` alone
    """

    t: float
    t_next: float
    x_t: Any
    x0: Any
