"""The samplers by name, and how to walk with one or add another.

A sampler is a generator function ``(model, x_t, timesteps, schedule)``, where x_t begins as x_T,
that yields one :class:`~jittor_ddim.diffusion.samplers.step.Step` per timestep, from the last one
to the first. ``model(x_t, t)`` is a network call and returns (x0, eps), whatever the network
predicts. A sampler that has parameters named ``eta`` and ``noise`` is given these too.
"""

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any, NamedTuple

from jittor_ddim import arguments
from jittor_ddim.diffusion.parametrization import PREDICTIONS, x0_and_eps
from jittor_ddim.diffusion.samplers.ddim import ddim
from jittor_ddim.diffusion.samplers.ddpm_noisy import ddpm_noisy
from jittor_ddim.diffusion.samplers.step import Noise, Step
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import check_timesteps
from jittor_ddim.errors import UserError


class Sampler(NamedTuple):
    """A sampler of the table; ``calls`` counts its network calls for given timesteps."""

    walk: Callable[..., Iterator[Step]]
    calls: Callable[[Sequence[int]], int] = len

    def takes(self, option: str) -> bool:
        """Whether the sampler has a parameter of this name."""
        return option in signature(self.walk).parameters


SAMPLERS = {"ddim": Sampler(ddim), "ddpm_noisy": Sampler(ddpm_noisy)}


def register(
    name: str,
    generator: Callable[..., Iterator[Step]],
    calls: Callable[[Sequence[int]], int] = len,
) -> None:
    """Add a sampler, which every function and command then accepts by its name.

    :param name: an identifier, since it becomes part of file names
    :param calls: how many network calls it makes for given timesteps
    :raises UserError: if the name is taken or unusable
    """
    if not isinstance(name, str) or not name.isidentifier() or name in SAMPLERS:
        raise UserError(f"sampler name {name!r} is taken or not an identifier; choose another")
    SAMPLERS[name] = Sampler(generator, calls)


def check_sampler(sampler: str, eta: float) -> Sampler:
    """Return the sampler of a name.

    :raises UserError: if there is none, or eta is out of range
    """
    if not 0 <= arguments.number("eta", eta) < float("inf"):
        raise UserError(f"eta must be a number >= 0, got {eta}")
    return SAMPLERS[arguments.one_of("sampler", sampler, tuple(SAMPLERS))]


def walk(
    sampler: str,
    predict: Callable[[Any, int], Any],
    x_T: Any,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    prediction: str = "eps",
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Walk from x_T to x_0 on arrays of any framework, without an engine.

    :param predict: (x_t, t) -> the network's output for a batch whose images are all at t
    :param x_T: (B, C, H, W), standard normal
    :param timesteps: strictly ascending, in 0 … T-1; they are walked from the last to the first
    :param eta: the stochasticity of ``ddim``, >= 0 (eq. 16)
    :param prediction: what the network predicts: ``eps``, ``x0`` or ``v``
    :param noise: network call k -> array, asked only for calls whose step adds noise
    :raises UserError: at once, if an argument is out of range
    """
    chosen = check_sampler(sampler, eta)
    arguments.one_of("prediction", prediction, PREDICTIONS)

    def model(x_t: Any, t: int) -> tuple[Any, Any]:
        return x0_and_eps(prediction, predict(x_t, t), x_t, schedule.alpha_bar_at(t))

    options = {"eta": eta, "noise": noise or _no_noise}
    taken = {name: value for name, value in options.items() if chosen.takes(name)}
    steps = check_timesteps(timesteps, schedule, prediction)
    return chosen.walk(model, x_T, steps, schedule, **taken)


def _no_noise(k: int) -> Any:
    raise UserError(f"the sampler adds noise after network call {k}: give noise, a function of k")
