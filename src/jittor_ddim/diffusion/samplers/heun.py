"""Heun's method for the ODE of DDIM: two network calls a step."""

from collections.abc import Iterator, Sequence
from typing import Any

from jittor_ddim.diffusion.parametrization import predict_x0
from jittor_ddim.diffusion.samplers.ddim import ddim_step
from jittor_ddim.diffusion.samplers.step import Model, Step
from jittor_ddim.diffusion.schedule import Schedule


def heun(model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule) -> Iterator[Step]:
    """Walk by Karras et al. 2022 (arXiv 2206.00364), algorithm 1.

    In their variables, x / alpha against sigma / alpha, the slope is eps. The step is DDIM's with
    the mean of eps here and where DDIM's own step leads; the last one, to sigma = 0, is DDIM's.
    """
    for t, t_next, a, a_next in schedule.descend(timesteps):
        x0, eps = model(x_t, t)
        x_t = heun_step(model, x_t, x0, eps, t_next, a, a_next)
        yield Step(t, t_next, x_t, x0)


def heun_step(
    model: Model, x_t: Any, x0: Any, eps: Any, t_next: float, a: float, a_next: float
) -> Any:
    """Return the state at t_next, with a second network call there unless the slope is infinite.

    At alpha_bar = 0 the slope is infinite, and DDIM's step is exact for the x0 predicted there.
    """
    if a == 0 or a_next == 1:
        return ddim_step(x0, eps, a_next)
    _, eps_next = model(ddim_step(x0, eps, a_next), t_next)
    mean = (eps + eps_next) / 2
    return ddim_step(predict_x0(x_t, mean, a), mean, a_next)


def calls_of_heun(timesteps: Sequence[float]) -> int:
    """Return how often the network is called: twice a step, once in the last one."""
    return 2 * len(timesteps) - 1
