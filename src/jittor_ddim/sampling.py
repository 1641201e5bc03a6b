"""Samples from a network: the public functions, and what the commands are made of.

Nothing here writes a file. A network is any engine's :class:`~jittor_ddim.engines.base.UNet`; its
arrays stay on its device between the steps of a sampler.
"""

import logging
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion import samplers
from jittor_ddim.diffusion.interpolation import slerp
from jittor_ddim.diffusion.noise import Stream, normal, prepared_ahead
from jittor_ddim.diffusion.samplers.multistep import encode
from jittor_ddim.diffusion.samplers.step import Noise, Step
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.settings import OFFICIAL_NAMES, SamplerSettings, usual_spacing
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import NotFiniteError, UserError
from jittor_ddim.guidance import Classes, first_not_finite, predictor

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
_P = ParamSpec("_P")
_R = TypeVar("_R")
_NO_CLASS = Classes()

_log = logging.getLogger(__name__)


def initial_noise(config: Config, seed: int = 1234, indices: Sequence[int] = range(64)) -> Floats:
    """Return x_T (B, C, H, W): standard normal, sample i from (seed, i) alone.

    :param indices: B sample indices, >= 0
    :raises UserError: if an argument is of another kind or out of range
    """
    arguments.instance("config", config, Config, "a Config, as load_config returns it")
    rows = arguments.indices(indices)
    return normal(arguments.seed(seed), Stream.INITIAL, 0, rows, config.sample_shape)


def _with_official_names(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Accept the official names of arguments too, ``variance`` and ``skip``, as keywords."""

    @wraps(function)
    def renaming(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for name, official in OFFICIAL_NAMES.items():
            if name in kwargs and official in kwargs:
                raise UserError(f"{name} and {official} are the same argument; give one of them")
            if official in kwargs:
                kwargs[name] = kwargs.pop(official)
        return function(*args, **kwargs)

    return renaming


@_with_official_names
def sample(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[float] = 50,
    eta: float = 0.0,
    spacing: str | None = None,
    sampler: str = "ddim",
    noise: Noise | None = None,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
    order: int | None = None,
    labels: Sequence[int | str] | None = None,
    guidance: float | None = None,
) -> Floats:
    """Return x_0 for x_T: the end of :func:`sample_steps`, which has the same arguments."""
    settings = SamplerSettings(timesteps, eta, spacing, sampler, seed, order)
    steps = _steps(unet, config, x_T, settings, indices, noise, labels, guidance or 0.0)
    return _end(unet, steps)


@_with_official_names
def sample_steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    timesteps: int | Sequence[float] = 50,
    eta: float = 0.0,
    spacing: str | None = None,
    sampler: str = "ddim",
    noise: Noise | None = None,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
    order: int | None = None,
    labels: Sequence[int | str] | None = None,
    guidance: float | None = None,
) -> Iterator[Step]:
    """Walk from x_T to x_0 and yield every step's t, t_next, x_t and x0 (float32 arrays).

    :param unet: a network with weights
    :param x_T: (B, C, H, W), for instance from :func:`initial_noise`; it is not yielded
    :param timesteps: S, the number of network calls, or an explicit ascending sequence in 0 … T-1,
        of integers or fractions
    :param eta: the stochasticity of ``ddim``, >= 0: at 1 it is the ancestral DDPM sampler (eq. 16)
    :param spacing: a name in :data:`jittor_ddim.diffusion.spacing.SPACINGS`, for instance
        ``uniform`` or ``logsnr``; None: ``uniform``, or ``trailing`` if the schedule has
        ``zero_terminal_snr``; the official name ``skip`` is accepted as well
    :param sampler: a name in :data:`jittor_ddim.SAMPLERS`: ``ddim``, ``ddpm_noisy`` for sigma-hat,
        or a faster one; the official name ``variance`` is accepted as well
    :param noise: a function from the network call k = 0, 1, … to noise of x_T's shape; None draws
        it by (seed, sample index, k), so that an image does not depend on its batch
    :param indices: the sample indices of the batch, 0 … B-1 if None
    :param order: of a sampler that has several (``unipc``, ``deis``, ``ipndm``)
    :param labels: (B,), the samples' classes, in 0 … N-1 for a network with N, or by their names
        (``config.data.class_names``); None: no class
    :param guidance: w >= 0 of :mod:`jittor_ddim.guidance`; None: 0
    :returns: x_t is not clamped; at the end t_next is -1 and x_t is x_0
    :raises UserError: at once, if an argument is out of range
    :raises NotFiniteError: at the step at which the network's output is not finite
    """
    settings = SamplerSettings(timesteps, eta, spacing, sampler, seed, order)
    steps = _steps(unet, config, x_T, settings, indices, noise, labels, guidance or 0.0)
    return (Step(s.t, s.t_next, _fetch(unet, s.x_t, s.t), _fetch(unet, s.x0, s.t)) for s in steps)


def sample_images(
    unet: UNet,
    config: Config,
    settings: SamplerSettings,
    indices: Sequence[int],
    batch_size: int,
    classes: Classes = _NO_CLASS,
) -> Iterator[Pixels]:
    """Yield finished samples one by one, uint8 (H, W, C), computing a batch at a time.

    :param indices: which samples of the seed
    """
    for start in range(0, len(indices), batch_size):
        rows = indices[start : start + batch_size]
        x_T = initial_noise(config, settings.seed, rows)
        steps = _steps(unet, config, x_T, settings, rows, None, *classes.of(rows))
        yield from _to_pixels(_end(unet, steps), config)


def trajectory(
    unet: UNet,
    config: Config,
    settings: SamplerSettings,
    count: int,
    kept: Container[int],
    predicted_x0: bool = False,
    classes: Classes = _NO_CLASS,
) -> Iterator[Pixels]:
    """Yield what the first ``count`` samples look like along the way.

    :param kept: the positions of the states wanted; state 0 is x_T, state k the one after step k
    :param predicted_x0: yield the images predicted at steps k = 1, 2, … instead of the states
    :yields: uint8 (count, H, W, C) for each state kept
    """
    x_T = initial_noise(config, settings.seed, range(count))
    if 0 in kept and not predicted_x0:
        yield _to_pixels(x_T, config)
    steps = _steps(unet, config, x_T, settings, None, None, *classes.of(range(count)))
    for position, step in enumerate(steps, start=1):
        if position in kept:
            state = step.x0 if predicted_x0 else step.x_t
            yield _to_pixels(_fetch(unet, state, step.t), config)


def interpolate(
    unet: UNet,
    config: Config,
    settings: SamplerSettings,
    count: int = 11,
    classes: Classes = _NO_CLASS,
) -> Pixels:
    """Return the samples on the arc between sample 0 and sample 1 (appendix D.5).

    :param count: how many, ends included; the official code has 11
    :returns: uint8 (count, H, W, C)
    """
    x_a, x_b = initial_noise(config, settings.seed, range(2))
    x_T = slerp(x_a, x_b, np.linspace(0, 1, count))
    steps = _steps(unet, config, x_T, settings, None, None, *classes.of(range(count)))
    return _to_pixels(_end(unet, steps), config)


def reconstruct(
    unet: UNet, config: Config, x0: Floats, settings: SamplerSettings
) -> tuple[Floats, Floats]:
    """Encode images to x_T and decode them again (section 5.4).

    :param x0: (B, C, H, W) in the network's range
    :param settings: of each way; eta must be 0, and the sampler one that encodes
    :returns: (x_T, the reconstruction), both (B, C, H, W)
    :raises UserError: if the settings do not allow it
    """
    x0 = _floats(x0, config)
    order = settings.encoder_order()
    sequence, schedule = settings.sequence(config), Schedule.from_config(config.diffusion)
    network = predictor(unet, config, range(len(x0)))
    model = samplers.model_of(network, schedule, config.diffusion.prediction)
    states = encode(model, unet.to_device(x0), sequence, schedule, order)
    t, x_t = deque(states, maxlen=1).pop()
    x_T = _fetch(unet, x_t, t)
    return x_T, _end(unet, _steps(unet, config, x_T, settings))


def _steps(
    unet: UNet,
    config: Config,
    x_T: Floats,
    settings: SamplerSettings,
    indices: Sequence[int] | None = None,
    noise: Noise | None = None,
    labels: Sequence[int | str] | None = None,
    guidance: float = 0.0,
) -> Iterator[Step]:
    """Check the arguments now, and return the walk, whose arrays lie on the engine's device."""
    arguments.instance("config", config, Config, "a Config, as load_config returns it")
    if not hasattr(unet, "predict_on_device"):
        kind = type(unet).__name__
        raise UserError(
            f"unet must be the network of an engine, engine.unet(config), got a {kind}"
        )
    sequence = settings.sequence(config)
    x_T = _floats(x_T, config)
    rows = range(len(x_T)) if indices is None else arguments.indices(indices)
    if len(rows) != len(x_T):
        raise UserError(f"indices: got {len(rows)}, but x_T has {len(x_T)} samples")
    if noise is not None and not callable(noise):
        kind = type(noise).__name__
        raise UserError(f"noise must be a function of the network call, got a {kind}")
    calls = samplers.SAMPLERS[settings.sampler].calls(sequence)
    if rows[0] == 0 and isinstance(settings.timesteps, int) and settings.timesteps != calls:
        text = "S = %s, %s spacing: %d network calls, %d steps"
        spacing = settings.spacing or usual_spacing(config.diffusion)
        _log.info(text, settings.timesteps, spacing, calls, len(sequence))

    def draw(k: int) -> Floats:
        return normal(settings.seed, Stream.SAMPLING, k, rows, config.sample_shape)

    source = noise or prepared_ahead(draw, calls)
    return samplers.walk(
        settings.sampler,
        predictor(unet, config, rows, labels, guidance),
        unet.to_device(x_T),
        sequence,
        Schedule.from_config(config.diffusion),
        order=settings.order,
        eta=settings.eta,
        prediction=config.diffusion.prediction,
        noise=lambda k: unet.to_device(source(k)),
    )


def _fetch(unet: UNet, state: Any, t: float) -> Floats:
    """Return a state as a NumPy array, checked: finite outputs can still overflow in a step."""
    array = unet.to_host(state)
    if (row := first_not_finite(array)) is not None:
        raise NotFiniteError(
            f"image {row} of the batch is not finite after timestep {t}: the network's output is "
            "too large, or the noise is not finite"
        )
    return array


def _end(unet: UNet, steps: Iterator[Step]) -> Floats:
    end = deque(steps, maxlen=1).pop()  # all states together would fill the memory
    return _fetch(unet, end.x_t, end.t)


def _floats(x: Floats, config: Config) -> Floats:
    """Return the images as float32, once they are finite numbers of the config's shape."""
    array = np.asarray(x)
    shape = ", ".join(map(str, config.sample_shape))
    if array.dtype.kind not in "fiu":
        raise UserError(f"expected images of shape (B, {shape}) in float32, got {array.dtype}")
    if array.ndim != 4 or array.shape[1:] != config.sample_shape or not len(array):
        raise UserError(f"expected images of shape (B, {shape}), got {array.shape}")
    if (row := first_not_finite(array)) is not None:
        raise UserError(
            f"expected finite numbers, got NaN or infinity in image {row} of the batch"
        )
    return array.astype(np.float32, copy=False)


def _to_pixels(x: Floats, config: Config) -> Pixels:
    return to_uint8(from_network(x, config.data))
