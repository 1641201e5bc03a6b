"""DDPM's sampler with the larger variance, sigma-hat (DDIM, section 5)."""

from collections.abc import Iterator, Sequence
from typing import Any

from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule


def ddpm_noisy(
    model: Model, x_t: Any, timesteps: Sequence[int], schedule: Schedule, noise: Noise
) -> Iterator[Step]:
    """Walk by the mean of q(x_next | x_t, x0) (Ho et al. 2020, eq. 7) with beta = 1 - a/a_next.

    sigma-hat^2 is beta, but 0 at the last step. x0 is clipped, as in the official code.
    """
    for k, (t, t_next, a, a_next) in enumerate(schedule.descend(timesteps)):
        x0, _ = model(x_t, t)
        x0 = x0.clip(-1, 1) if hasattr(x0, "clip") else x0.clamp(-1, 1)  # Jittor's name
        beta = 1 - a / a_next
        mean = a_next**0.5 * beta * x0 + (1 - beta) ** 0.5 * (1 - a_next) * x_t
        x_t = mean / (1 - a)
        if t_next >= 0:
            x_t = x_t + beta**0.5 * noise(k)
        yield Step(t, t_next, x_t, x0)
