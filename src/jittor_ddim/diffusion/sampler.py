"""The samplers as generators: from x_T down to x_0, and from x_0 back up to x_T.

They only walk; the caller decides what to keep, show or save.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.steps import (
    clip,
    ddim_sigma,
    ddim_step,
    ddpm_noisy_step,
    encode_step,
    predict_x0,
)
from jittor_ddim.errors import UserError

VARIANCES = ("ddim", "ddpm_noisy")

#: (x_t, t) -> eps_pred for a batch whose images all stand at timestep t.
Denoiser = Callable[[Any, int], Any]
#: k -> standard normal noise of x_T's shape for model call k, from 0.
NoiseSource = Callable[[int], Any]


@dataclass(frozen=True)
class Step:
    """One step of a sampler.

    :ivar t: the timestep at which the network was called
    :ivar t_next: the timestep of ``x_t``; -1 at the end, where x_t is x_0
    :ivar x_t: the state after the step, (B, C, H, W)
    :ivar x0: the image predicted at t, (B, C, H, W); clipped to [-1, 1] by ``ddpm_noisy`` alone
    """

    t: int
    t_next: int
    x_t: Any
    x0: Any


def denoise(
    predict: Denoiser,
    x_T: Any,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    variance: str = "ddim",
    noise: NoiseSource,
) -> Iterator[Step]:
    """Walk from x_T to x_0 along a sequence of timesteps, one network call a step.

    :param x_T: (B, C, H, W), standard normal
    :param timesteps: strictly ascending, in 0 … T-1; they are walked from the last to the first
    :param eta: the stochasticity of the DDIM step, >= 0 (eq. 16); ``ddpm_noisy`` ignores it
    :param variance: ``ddim``, or ``ddpm_noisy`` for sigma-hat
    :param noise: asked only for the steps that add noise
    :raises UserError: if eta or variance is out of range, or a timestep holds no image at all
    """
    check_sampler(eta, variance)
    check_signal(timesteps, schedule)
    x_t = x_T
    for k, t in enumerate(reversed(timesteps)):
        last = k == len(timesteps) - 1
        t_next = -1 if last else timesteps[-k - 2]
        a, a_next = schedule.alpha_bar_at(t), schedule.alpha_bar_at(t_next)
        eps = predict(x_t, t)
        x0 = predict_x0(x_t, eps, a)
        if variance == "ddim":
            needs_noise = ddim_sigma(a, a_next, eta) > 0
            x_t = ddim_step(x0, eps, a, a_next, eta, noise(k) if needs_noise else None)
        else:
            x0 = clip(x0)
            x_t = ddpm_noisy_step(x_t, x0, a, a_next, None if last else noise(k))
        yield Step(t, t_next, x_t, x0)


def encode(
    predict: Denoiser, x0: Any, timesteps: Sequence[int], schedule: Schedule
) -> Iterator[tuple[int, Any]]:
    """Walk from an image to the x_T that generates it (section 4.3 and 5.4), eta = 0.

    The first step starts from the clean image, "timestep -1", whose noise the network is asked
    for at timesteps[0]; every later step asks at the timestep where the state stands.

    :param x0: (B, C, H, W) in the network's range
    :yields: (t, x_t), up to t = timesteps[-1], whose x_t plays x_T in :func:`denoise`
    """
    check_signal(timesteps, schedule)
    x_t, t = x0, -1
    for t_next in timesteps:
        eps = predict(x_t, max(t, timesteps[0]))
        x_t = encode_step(x_t, eps, schedule.alpha_bar_at(t), schedule.alpha_bar_at(t_next))
        t = t_next
        yield t, x_t


def check_sampler(eta: float, variance: str) -> None:
    """Refuse an eta below 0 and an unknown variance.

    An eta so large that sigma^2 exceeds the variance of the step is left to
    :func:`~jittor_ddim.diffusion.steps.ddim_step`, which then drops the direction term.

    :raises UserError: naming the parameter
    """
    if not 0 <= eta < float("inf"):
        raise UserError(f"eta must be a number >= 0, got {eta}")
    if variance not in VARIANCES:
        raise UserError(f"variance must be one of {', '.join(VARIANCES)}, got {variance!r}")


def check_signal(timesteps: Sequence[int], schedule: Schedule) -> None:
    """Refuse timesteps at which alpha_bar is 0, as at the end of ``jsd``: x0 is undefined there.

    :raises UserError: naming the timestep
    """
    for t in timesteps:
        if schedule.alpha_bar_at(t) == 0:
            raise UserError(
                f"timestep {t} keeps nothing of the image (alpha_bar = 0 in this beta schedule): "
                f"sample with timesteps below {t}"
            )
