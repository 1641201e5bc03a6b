"""A sampler that the package does not know by its name: two network calls a step."""

import jittor_ddim as jd
from jittor_ddim.diffusion.parametrization import diffuse, predict_x0


def heun(model, x_t, timesteps, schedule):
    """DDIM's ODE by Heun's method: each step but the last asks again where it leads."""
    for t, t_next, a, a_next in schedule.descend(timesteps):
        x0, eps = model(x_t, t)
        if t_next >= 0:
            _, eps_next = model(diffuse(x0, eps, a_next), t_next)
            eps = (eps + eps_next) / 2
        x_t = diffuse(predict_x0(x_t, eps, a), eps, a_next)
        yield jd.Step(t, t_next, x_t, x0)


def calls_of_heun(timesteps):
    return 2 * len(timesteps) - 1
