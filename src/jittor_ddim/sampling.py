"""Samples from a network: the public functions, and the jobs that the commands are made of.

Nothing here writes a file. A network is any engine's :class:`~jittor_ddim.engines.base.UNet`; its
arrays stay on its device between the steps of a sampler.
"""

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.ahead import prepared_ahead
from jittor_ddim.diffusion.interpolation import slerp
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.sampler import (
    Denoiser,
    Step,
    check_sampler,
    check_signal,
    denoise,
    encode,
)
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.timesteps import SKIPS, check_timesteps, make_timesteps
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import NotFiniteError, UserError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
#: k -> noise of x_T's shape for model call k, from 0.
Noise = Callable[[int], Floats]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the fields are explained at :func:`sample_steps`."""

    timesteps: int | Sequence[int] = 50
    eta: float = 0.0
    skip: str = "uniform"
    variance: str = "ddim"
    seed: int = 1234

    def __post_init__(self) -> None:
        """Take whole floats and NumPy's numbers as Python's, and refuse what is no number."""
        steps = arguments.whole(self.timesteps)
        if steps is None:
            what = "an integer, or ascending integers"
            steps = arguments.integers("timesteps", self.timesteps, what)
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "eta", arguments.number("eta", self.eta))
        object.__setattr__(self, "seed", arguments.seed(self.seed))

    def sequence(self, config: Config) -> list[int]:
        """Return the ascending timesteps, once everything has been checked.

        :raises UserError: naming the setting with which this config cannot be sampled
        """
        check_sampler(self.eta, self.variance)
        if self.eta and self.variance == "ddpm_noisy":
            _log.warning("eta %g has no part in this: ddpm_noisy ignores it", self.eta)
        arguments.one_of("skip", self.skip, SKIPS)
        total = config.diffusion.num_diffusion_timesteps
        if isinstance(self.timesteps, int):
            sequence = make_timesteps(total, self.timesteps, self.skip)
        else:
            sequence = check_timesteps(self.timesteps, total)
        check_signal(sequence, Schedule.from_config(config.diffusion))
        return sequence


def initial_noise(config: Config, seed: int = 1234, indices: Sequence[int] = range(64)) -> Floats:
    """Return x_T (B, C, H, W): standard normal, sample i from (seed, i) alone.

    :param indices: B sample indices, >= 0
    :raises UserError: if an argument is of another kind or out of range
    """
    _check_config(config)
    rows = arguments.indices(indices)
    return normal(arguments.seed(seed), Stream.INITIAL, 0, rows, config.sample_shape)


def sample(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[int] = 50,
    eta: float = 0.0,
    skip: str = "uniform",
    variance: str = "ddim",
    noise: Noise | None = None,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
) -> Floats:
    """Return x_0 for x_T: the end of :func:`sample_steps`, which has the same arguments."""
    settings = SamplerSettings(timesteps, eta, skip, variance, seed)
    return _end(unet, config, x_T, settings, indices, noise)


def sample_steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[int] = 50,
    eta: float = 0.0,
    skip: str = "uniform",
    variance: str = "ddim",
    noise: Noise | None = None,
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
    :raises UserError: at once, if an argument is out of range
    :raises NotFiniteError: at the step at which the network's output is not finite
    """
    settings = SamplerSettings(timesteps, eta, skip, variance, seed)
    steps = _steps(unet, config, x_T, settings, indices, noise)
    return (Step(s.t, s.t_next, _fetch(unet, s.x_t, s.t), _fetch(unet, s.x0, s.t)) for s in steps)


def sample_images(
    unet: UNet, config: Config, settings: SamplerSettings, indices: Sequence[int], batch_size: int
) -> Iterator[Pixels]:
    """Yield finished samples one by one, uint8 (H, W, C); a batch of them is computed at a time.

    :param indices: which samples of the seed
    """
    for start in range(0, len(indices), batch_size):
        rows = indices[start : start + batch_size]
        x_T = initial_noise(config, settings.seed, rows)
        yield from _to_pixels(_end(unet, config, x_T, settings, rows), config)


def trajectory(
    unet: UNet,
    config: Config,
    settings: SamplerSettings,
    count: int,
    kept: Container[int],
    predicted_x0: bool = False,
) -> Iterator[Pixels]:
    """Yield what the first ``count`` samples look like along the way.

    :param kept: the positions of the states wanted; state 0 is x_T, state k the one after call k
    :param predicted_x0: instead of the states the images predicted, of call k = 1, 2, …
    :yields: uint8 (count, H, W, C) for each state kept
    """
    x_T = initial_noise(config, settings.seed, range(count))
    if 0 in kept and not predicted_x0:
        yield _to_pixels(x_T, config)
    for position, step in enumerate(_steps(unet, config, x_T, settings), start=1):
        if position in kept:
            state = step.x0 if predicted_x0 else step.x_t
            yield _to_pixels(_fetch(unet, state, step.t), config)


def interpolate(unet: UNet, config: Config, settings: SamplerSettings, count: int = 11) -> Pixels:
    """Return the samples on the arc between sample 0 and sample 1 (appendix D.5).

    :param count: how many, ends included; the official code has 11
    :returns: uint8 (count, H, W, C)
    """
    x_a, x_b = initial_noise(config, settings.seed, range(2))
    x_T = slerp(x_a, x_b, np.linspace(0, 1, count))
    return _to_pixels(_end(unet, config, x_T, settings), config)


def reconstruct(unet: UNet, config: Config, x0: Floats, timesteps: int) -> tuple[Floats, Floats]:
    """Encode images to x_T and decode them again, both with eta = 0 (section 5.4).

    :param x0: (B, C, H, W) in the network's range
    :param timesteps: S, uniform, each way
    :returns: (x_T, the reconstruction), both (B, C, H, W)
    :raises UserError: if S is out of range
    """
    x0 = _floats(x0, config)
    settings = SamplerSettings(timesteps)
    schedule = Schedule.from_config(config.diffusion)
    x_t = unet.to_device(x0)
    sequence = settings.sequence(config)
    predict = _watched(unet, range(len(x0)))
    for _, state in encode(predict, x_t, sequence, schedule):
        x_t = state
    x_T = _fetch(unet, x_t, sequence[-1])
    return x_T, _end(unet, config, x_T, settings)


def _steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    settings: SamplerSettings,
    indices: Sequence[int] | None = None,
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Check the arguments now, and return the walk, whose arrays lie on the engine's device."""
    _check_config(config)
    if not hasattr(unet, "predict_on_device"):
        kind = type(unet).__name__
        raise UserError(
            f"unet must be the network of an engine, engine.unet(config), got a {kind}"
        )
    sequence = settings.sequence(config)
    x_T = _floats(x_T, config)
    rows = range(len(x_T)) if indices is None else arguments.indices(indices)
    if len(rows) != len(x_T):
        raise UserError(f"indices: {len(rows)} of them for {len(x_T)} samples")
    wanted = settings.timesteps
    if isinstance(wanted, int) and len(sequence) != wanted:
        _log.info("skip %s, S = %d: %d distinct timesteps", settings.skip, wanted, len(sequence))

    def draw(k: int) -> Floats:
        return normal(settings.seed, Stream.SAMPLING, k, rows, config.sample_shape)

    if noise is not None and not callable(noise):
        kind = type(noise).__name__
        raise UserError(f"noise must be a function of the model call, got a {kind}")
    source = noise or prepared_ahead(draw, len(sequence))
    return denoise(
        _watched(unet, rows),
        unet.to_device(x_T),
        sequence,
        Schedule.from_config(config.diffusion),
        eta=settings.eta,
        variance=settings.variance,
        noise=lambda k: unet.to_device(source(k)),
    )


def _watched(unet: UNet, rows: Sequence[int]) -> Denoiser:
    """Return the network; its first output that is not finite ends the job.

    Every call is looked at: a sampler may clip what was not finite, and nothing would show it.

    :param rows: the indices of the samples, for the message
    """

    def predict(x_t: Any, t: int) -> Any:
        eps = unet.predict_on_device(x_t, t)
        if (row := _first_not_finite(unet.to_host(eps))) is not None:
            raise NotFiniteError(
                f"the network's output is not finite at timestep {t}, first for sample "
                f"{rows[row]}: its weights are broken (check where they come from), or too large "
                "for bfloat16 (use --precision float32)"
            )
        return eps

    return predict


def _fetch(unet: UNet, state: Any, t: int) -> Floats:
    """Return a state as NumPy's; finite outputs and noise that is not can make another of it."""
    array = unet.to_host(state)
    if (row := _first_not_finite(array)) is not None:
        raise NotFiniteError(
            f"image {row} of the batch is not finite after timestep {t}: the network's output is "
            "too large, or the noise is not finite"
        )
    return array


def _first_not_finite(x: Floats) -> int | None:
    """The first image of a batch with a number that is not finite."""
    finite = np.isfinite(x)
    return None if finite.all() else int(np.argmin(finite.all(axis=(1, 2, 3))))


def _end(
    unet: UNet,
    config: Config,
    x_T: Floats,
    settings: SamplerSettings,
    indices: Sequence[int] | None = None,
    noise: Noise | None = None,
) -> Floats:
    end = None
    for step in _steps(unet, config, x_T, settings, indices, noise):
        end = step  # nothing else is kept: all states together would fill the memory
    assert end
    return _fetch(unet, end.x_t, end.t)


def _check_config(config: Config) -> None:
    arguments.instance("config", config, Config, "a Config, as load_config returns it")


def _floats(x: Floats, config: Config) -> Floats:
    """The images as float32, once they are numbers of the config's shape."""
    array = np.asarray(x)
    shape = ", ".join(map(str, config.sample_shape))
    if array.dtype.kind not in "fiu":
        raise UserError(f"expected images of shape (B, {shape}) in float32, got {array.dtype}")
    if array.ndim != 4 or array.shape[1:] != config.sample_shape or not len(array):
        raise UserError(f"expected images of shape (B, {shape}), got {array.shape}")
    if (row := _first_not_finite(array)) is not None:
        raise UserError(f"expected finite numbers, but image {row} of the batch has others")
    return array.astype(np.float32, copy=False)


def _to_pixels(x: Floats, config: Config) -> Pixels:
    return to_uint8(from_network(x, config.data))
