"""DDIM (arXiv 2010.02502): from x_T down to x_0, and at eta = 0 from an image up to its x_T."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jittor_ddim.diffusion.parametrization import diffuse, predict_x0
from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule


def ddim(
    model: Model, x_t: Any, timesteps: Sequence[int], schedule: Schedule, eta: float, noise: Noise
) -> Iterator[Step]:
    """Walk by eq. 12 with the sigma of eq. 16: eta = 1 is DDPM's ancestral sampler.

    An eta so large that sigma^2 exceeds the variance of a step drops the direction term. Noise is
    asked for only where sigma > 0: never at eta = 0, nor at the last step.
    """
    for k, (t, t_next, a, a_next) in enumerate(schedule.descend(timesteps)):
        x0, eps = model(x_t, t)
        sigma = eta * ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5
        # Rounding must not make the root complex at the last step, where all of this is 0.
        direction = max(1 - a_next - sigma**2, 0.0) ** 0.5
        x_t = a_next**0.5 * x0 + direction * eps
        if sigma > 0:
            x_t = x_t + sigma * noise(k)
        yield Step(t, t_next, x_t, x0)


def encode(
    predict_eps: Callable[[Any, int], Any], x0: Any, timesteps: Sequence[int], schedule: Schedule
) -> Iterator[tuple[int, Any]]:
    """Walk from an image to the x_T that generates it: the ODE of eq. 14, Euler forward.

    The first step starts from the clean image, "timestep -1", whose noise the network is asked
    for at timesteps[0]; every later step asks at the timestep of the state.

    :param x0: (B, C, H, W) in the network's range
    :param timesteps: strictly ascending
    :yields: (t, x_t), up to t = timesteps[-1], whose x_t is the x_T of :func:`ddim`
    """
    x_t, t = x0, -1
    for t_next in timesteps:
        eps = predict_eps(x_t, max(t, timesteps[0]))
        x0 = predict_x0(x_t, eps, schedule.alpha_bar_at(t))
        x_t, t = diffuse(x0, eps, schedule.alpha_bar_at(t_next)), t_next
        yield t, x_t
