"""The ways that a page can watch: from noise to images, along an arc, up from a picture and down.

Each is a generator of states, in an engine's process; one that is dropped costs nothing more.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, plain_input
from jittor_ddim.diffusion import samplers
from jittor_ddim.diffusion.interpolation import slerp
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.samplers.multistep import encode
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.base import UNet
from jittor_ddim.guidance import predictor
from jittor_ddim.play.ask import Ask
from jittor_ddim.sampling import Floats, initial_noise, sample_steps


class State(NamedTuple):
    """What is shown: x_t (B, C, H, W) at timestep t, and the x0 predicted on the way to it.

    :ivar phase: ``down`` to the images, or ``up`` from them to noise
    :ivar t: -1 where nothing is noise
    :ivar remark: the error of a reconstruction, with its last state
    """

    phase: str
    t: float
    x_t: Floats
    x0: Floats | None = None
    remark: dict[str, float] | None = None


def length(ask: Ask, config: Config) -> int:
    """Return how many states :func:`walk` yields."""
    steps = len(ask.sequence(config))
    return 2 * steps + 1 if ask.kind == "reconstruct" else steps + 1


def walk(unet: UNet, config: Config, ask: Ask) -> Iterator[State]:
    """Yield every state of what was asked for, the one it begins with included.

    :raises NotFiniteError: where the network's output is not finite
    """
    if ask.kind == "reconstruct":
        return _reconstruct(unet, config, ask)
    start = {"sample": _noise, "arc": _arc, "edit": _noisy_picture}[ask.kind]
    return _down(unet, config, ask, start(config, ask))


def _noise(config: Config, ask: Ask) -> Floats:
    return initial_noise(config, ask.seed, range(ask.num_samples))


def _arc(config: Config, ask: Ask) -> Floats:
    """Sample 0 of either seed, and points on the arc between (DDIM, appendix D.5)."""
    x_a, x_b = (initial_noise(config, seed, range(1))[0] for seed in (ask.seed, ask.other_seed))
    return slerp(x_a, x_b, np.linspace(0, 1, ask.count))


def _noisy_picture(config: Config, ask: Ask) -> Floats:
    """Return q(x_t | picture) at the timestep where an edit begins (SDEdit, arXiv 2108.01073)."""
    schedule = Schedule.from_config(config.diffusion)
    alpha_bar = schedule.alpha_bar_at(ask.sequence(config)[-1])
    rows = range(ask.num_samples)
    eps = normal(ask.seed, Stream.INITIAL, 0, rows, config.sample_shape)
    return (alpha_bar**0.5 * _picture(config, ask) + (1 - alpha_bar) ** 0.5 * eps).astype("f4")


def _picture(config: Config, ask: Ask) -> Floats:
    return plain_input(ask.pixels(config), config.data)


def _down(unet: UNet, config: Config, ask: Ask, x_T: Floats) -> Iterator[State]:
    labels, guidance = ask.classes(config).of(range(len(x_T)))
    sequence, settings = ask.sequence(config), ask.settings
    steps = sample_steps(
        unet,
        config,
        x_T,
        sequence,
        eta=settings.eta,
        sampler=settings.sampler,
        seed=settings.seed,
        labels=labels,
        guidance=guidance,
    )
    yield State("down", sequence[-1], x_T)
    for step in steps:
        yield State("down", step.t_next, step.x_t, step.x0)


def _reconstruct(unet: UNet, config: Config, ask: Ask) -> Iterator[State]:
    """Up to x_T and down again, with the error, images in [0, 1] (DDIM, section 5.4)."""
    x0, sequence = _picture(config, ask), ask.sequence(config)
    schedule, order = Schedule.from_config(config.diffusion), ask.settings.encoder_order()
    network = predictor(unet, config, range(1))
    model = samplers.model_of(network, schedule, config.diffusion.prediction)
    yield State("up", -1, x0)
    x_T = x0
    for t, state in encode(model, unet.to_device(x0), sequence, schedule, order):
        x_T = unet.to_host(state)
        yield State("up", t, x_T)
    for state in islice(_down(unet, config, ask, x_T), 1, None):  # x_T has been shown
        yield state if state.t != -1 else state._replace(remark=_error(state.x_t, x0, config))


def _error(found: Floats, wanted: Floats, config: Config) -> dict[str, float]:
    difference = from_network(found, config.data) - from_network(wanted, config.data)
    return {"mse": float(np.mean(difference**2)), "largest": float(np.abs(difference).max())}
