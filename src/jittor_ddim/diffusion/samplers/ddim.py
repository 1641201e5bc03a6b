"""DDIM (Song et al., arXiv 2010.02502): from x_T down to x_0."""

from collections.abc import Iterator, Sequence
from typing import Any

from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule


def ddim(
    model: Model,
    x_t: Any,
    timesteps: Sequence[float],
    schedule: Schedule,
    eta: float,
    noise: Noise,
) -> Iterator[Step]:
    """Walk by eq. 12 with the sigma of eq. 16: eta = 1 is DDPM's ancestral sampler.

    An eta so large that sigma^2 exceeds the variance of a step drops the direction term. Noise is
    asked for only where sigma > 0: never at eta = 0, nor at the last step.
    """
    for k, (t, t_next, a, a_next) in enumerate(schedule.descend(timesteps)):
        x0, eps = model(x_t, t)
        sigma = sigma_of(a, a_next, eta)
        x_t = ddim_step(x0, eps, a_next, sigma)
        if sigma > 0:
            x_t = x_t + sigma * noise(k)
        yield Step(t, t_next, x_t, x0)


def sigma_of(alpha_bar: float, alpha_bar_next: float, eta: float) -> float:
    """Return the standard deviation of the noise that a step adds (eq. 16)."""
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    return eta * variance**0.5


def ddim_step(x0: Any, eps: Any, alpha_bar_next: float, sigma: float = 0.0) -> Any:
    """Return the next state but for its noise (eq. 12): the image and the direction to x_t."""
    # Rounding must not make the root complex at the last step, where all of this is 0.
    direction = max(1 - alpha_bar_next - sigma**2, 0.0) ** 0.5
    return alpha_bar_next**0.5 * x0 + direction * eps
