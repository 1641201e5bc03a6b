"""Samples from a network: the public functions, and the jobs that the commands are made of.

Nothing here writes a file. A network is any engine's :class:`~jittor_ddim.engines.base.UNet`; its
arrays stay on its device between the steps of a sampler.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.interpolation import slerp
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.sampler import Step, check_sampler, check_signal, denoise, encode
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.timesteps import check_timesteps, make_timesteps
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import UserError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_log = logging.getLogger(__name__)


def initial_noise(config: Config, seed: int = 1234, indices: Sequence[int] = range(64)) -> Floats:
    """Return x_T (B, C, H, W): standard normal, sample i from (seed, i) alone.

    :param indices: B sample indices, >= 0
    """
    return normal(seed, Stream.INITIAL, 0, indices, config.sample_shape)


def resolve_timesteps(config: Config, timesteps: int | Sequence[int], skip: str) -> list[int]:
    """Return the ascending timesteps of S and a skip, or an explicit sequence checked.

    :raises UserError: if S is not in 1 … T, or the sequence is not ascending in 0 … T-1
    """
    total = config.diffusion.num_diffusion_timesteps
    if not isinstance(timesteps, (int, np.integer)):
        return check_timesteps(timesteps, total)
    sequence = make_timesteps(total, int(timesteps), skip)
    if len(sequence) != timesteps:
        _log.info("skip %s with S = %d: %d distinct timesteps", skip, timesteps, len(sequence))
    return sequence


def sample(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[int] = 50,
    eta: float = 0.0,
    skip: str = "uniform",
    variance: str = "ddim",
    noise: Callable[[int], Floats] | None = None,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
) -> Floats:
    """Return x_0 for x_T: the end of :func:`sample_steps`, which has the same arguments."""
    x_t = unet.to_device(x_T)
    for step in _device_steps(
        unet, config, x_T, timesteps, eta, skip, variance, noise, seed, indices
    ):
        x_t = step.x_t
    return unet.to_host(x_t)


def sample_steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[int] = 50,
    eta: float = 0.0,
    skip: str = "uniform",
    variance: str = "ddim",
    noise: Callable[[int], Floats] | None = None,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
) -> Iterator[Step]:
    """Walk from x_T to x_0 and yield every step's t, t_next, x_t and x0 (float32 arrays).

    :param unet: a network with weights
    :param x_T: (B, C, H, W), for instance of :func:`initial_noise`; it is not yielded
    :param timesteps: S, or an explicit ascending sequence in 0 … T-1
    :param eta: the stochasticity, >= 0: 0 is DDIM, 1 the ancestral DDPM sampler (eq. 16)
    :param skip: ``uniform`` or ``quad``, see
        :func:`~jittor_ddim.diffusion.timesteps.make_timesteps`
    :param variance: ``ddim``, or ``ddpm_noisy`` for sigma-hat, which ignores eta
    :param noise: a function from the model call k = 0, 1, … to noise of x_T's shape; None draws it
        by (seed, sample index, k), so that an image does not depend on its batch
    :param indices: the sample indices of the batch, 0 … B-1 if None
    :returns: x_t is not clamped; at the end t_next is -1 and x_t is x_0
    :raises UserError: if an argument is out of range
    """
    for step in _device_steps(
        unet, config, x_T, timesteps, eta, skip, variance, noise, seed, indices
    ):
        yield Step(step.t, step.t_next, unet.to_host(step.x_t), unet.to_host(step.x0))


def _device_steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[int],
    eta: float,
    skip: str,
    variance: str,
    noise: Callable[[int], Floats] | None,
    seed: int,
    indices: Sequence[int] | None,
) -> Iterator[Step]:
    sequence = resolve_timesteps(config, timesteps, skip)
    check_sampler(eta, variance)
    _check_shape(x_T, config)
    rows = range(len(x_T)) if indices is None else indices
    if len(rows) != len(x_T):
        raise UserError(f"indices: {len(rows)} of them for {len(x_T)} samples")

    def draw(k: int) -> Floats:
        return normal(seed, Stream.SAMPLING, k, rows, config.sample_shape)

    source = noise or draw
    return denoise(
        unet.predict_on_device,
        unet.to_device(x_T),
        sequence,
        Schedule.from_config(config.diffusion),
        eta=eta,
        variance=variance,
        noise=lambda k: unet.to_device(source(k)),
    )


def _check_shape(x: Floats, config: Config) -> None:
    if x.ndim != 4 or x.shape[1:] != config.sample_shape or not len(x):
        raise UserError(
            f"expected images of shape (B, {', '.join(map(str, config.sample_shape))}), "
            f"got {x.shape}"
        )


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the arguments of :func:`sample` that a user chooses."""

    timesteps: int = 50
    eta: float = 0.0
    skip: str = "uniform"
    variance: str = "ddim"
    seed: int = 1234

    def check(self, config: Config) -> None:
        """Refuse settings that this config cannot sample with.

        :raises UserError: naming the setting
        """
        check_sampler(self.eta, self.variance)
        total = config.diffusion.num_diffusion_timesteps
        sequence = make_timesteps(total, self.timesteps, self.skip)
        check_signal(sequence, Schedule.from_config(config.diffusion))


def sample_pixels(
    unet: UNet, config: Config, settings: SamplerSettings, indices: Sequence[int], batch_size: int
) -> Iterator[tuple[Sequence[int], Pixels]]:
    """Yield finished samples batch by batch.

    :param indices: which samples of the seed
    :yields: (indices, pixels uint8 (b, H, W, C)), in order
    """
    for start in range(0, len(indices), batch_size):
        rows = indices[start : start + batch_size]
        x_T = initial_noise(config, settings.seed, rows)
        yield rows, _to_pixels(_sample(unet, config, settings, x_T, rows), config)


def trajectory(
    unet: UNet,
    config: Config,
    settings: SamplerSettings,
    count: int,
    keep: Callable[[int], Sequence[int]],
    predicted_x0: bool = False,
) -> Iterator[Pixels]:
    """Yield what the first ``count`` samples look like along the way.

    :param keep: from the number of states to the positions of those wanted, ascending; state 0
        is x_T, or with ``predicted_x0`` the first prediction
    :param predicted_x0: the predicted images instead of the states
    :yields: uint8 (count, H, W, C) for each state kept
    """
    rows = range(count)
    x_T = initial_noise(config, settings.seed, rows)
    sequence = resolve_timesteps(config, settings.timesteps, settings.skip)
    kept = set(keep(len(sequence) + (not predicted_x0)))
    if not predicted_x0 and 0 in kept:
        yield _to_pixels(x_T, config)
    steps = _device_steps(
        unet,
        config,
        x_T,
        sequence,
        settings.eta,
        settings.skip,
        settings.variance,
        None,
        settings.seed,
        rows,
    )
    for position, step in enumerate(steps, start=int(not predicted_x0)):
        if position in kept:
            state = step.x0 if predicted_x0 else step.x_t
            yield _to_pixels(unet.to_host(state), config)


def interpolate(unet: UNet, config: Config, settings: SamplerSettings, count: int = 11) -> Pixels:
    """Return the samples on the arc between sample 0 and sample 1 (appendix D.5).

    :param count: how many, ends included; the official code has 11
    :returns: uint8 (count, H, W, C)
    """
    x_a, x_b = initial_noise(config, settings.seed, range(2))
    x_T = slerp(x_a, x_b, np.linspace(0, 1, count))
    return _to_pixels(_sample(unet, config, settings, x_T, range(count)), config)


def reconstruct(unet: UNet, config: Config, x0: Floats, timesteps: int) -> tuple[Floats, Floats]:
    """Encode images to x_T and decode them again, both with eta = 0 (section 5.4).

    :param x0: (B, C, H, W) in the network's range
    :param timesteps: S, uniform, each way
    :returns: (x_T, the reconstruction), both (B, C, H, W)
    :raises UserError: if S is out of range
    """
    _check_shape(x0, config)
    sequence = resolve_timesteps(config, timesteps, "uniform")
    schedule = Schedule.from_config(config.diffusion)
    x_t = unet.to_device(x0)
    for _, state in encode(unet.predict_on_device, x_t, sequence, schedule):
        x_t = state
    x_T = unet.to_host(x_t)
    return x_T, sample(unet, config, x_T, sequence)


def _sample(
    unet: UNet, config: Config, settings: SamplerSettings, x_T: Floats, rows: Sequence[int]
) -> Floats:
    return sample(
        unet,
        config,
        x_T,
        settings.timesteps,
        settings.eta,
        settings.skip,
        settings.variance,
        None,
        settings.seed,
        rows,
    )


def _to_pixels(x: Floats, config: Config) -> Pixels:
    return to_uint8(from_network(x, config.data))
