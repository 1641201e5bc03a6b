"""The samplers by name, and how to walk with one or add another.

A sampler is a generator function ``(model, x_t, timesteps, schedule)``, where x_t begins as x_T,
that yields one :class:`~jittor_ddim.diffusion.samplers.step.Step` per timestep, from the last one
to the first. ``model(x_t, t)`` is a network call and returns (x0, eps), whatever the network
predicts. A sampler that has parameters named ``eta``, ``order`` or ``noise`` is given these too.
"""

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any, NamedTuple

from jittor_ddim import arguments
from jittor_ddim.diffusion.parametrization import PREDICTIONS, x0_and_eps
from jittor_ddim.diffusion.samplers.ddim import ddim
from jittor_ddim.diffusion.samplers.ddpm_noisy import ddpm_noisy
from jittor_ddim.diffusion.samplers.heun import calls_of_heun, heun
from jittor_ddim.diffusion.samplers.multistep import (
    calls_of_plms,
    deis,
    dpmpp_1m,
    dpmpp_2m,
    dpmpp_3m,
    ipndm,
    plms,
    sde_dpmpp_2m,
    unipc,
)
from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import check_timesteps
from jittor_ddim.errors import UserError


class Sampler(NamedTuple):
    """A sampler of the table.

    :ivar calls: counts its network calls for given timesteps
    :ivar orders: the orders it has, if it can be asked for one
    """

    walk: Callable[..., Iterator[Step]]
    calls: Callable[[Sequence[float]], int] = len
    orders: Sequence[int] = ()

    def takes(self, option: str) -> bool:
        """Whether the sampler has a parameter of this name."""
        return option in signature(self.walk).parameters


SAMPLERS = {
    "ddim": Sampler(ddim),
    "ddpm_noisy": Sampler(ddpm_noisy),
    "dpmpp_1m": Sampler(dpmpp_1m),
    "dpmpp_2m": Sampler(dpmpp_2m),
    "dpmpp_3m": Sampler(dpmpp_3m),
    "unipc": Sampler(unipc, orders=range(1, 4)),
    "deis": Sampler(deis, orders=range(1, 4)),
    "heun": Sampler(heun, calls_of_heun),
    "plms": Sampler(plms, calls_of_plms),
    "ipndm": Sampler(ipndm, orders=range(1, 5)),
    "sde_dpmpp_2m": Sampler(sde_dpmpp_2m),
}
#: Samplers that also go from an image up to its x_T: the order of ``multistep.encode``.
ENCODERS = {"ddim": 1, "dpmpp_2m": 2}


def register(
    name: str,
    generator: Callable[..., Iterator[Step]],
    calls: Callable[[Sequence[float]], int] = len,
    orders: Sequence[int] = (),
) -> None:
    """Add a sampler, which every function and command then accepts by its name.

    :param name: an identifier, since it becomes part of file names
    :param calls: how many network calls it makes for given timesteps
    :param orders: those of its parameter ``order``, whose default is its usual one
    :raises UserError: if the name is taken or unusable
    """
    if not isinstance(name, str) or not name.isidentifier() or name in SAMPLERS:
        raise UserError(f"sampler name {name!r} is taken or not an identifier; choose another")
    SAMPLERS[name] = Sampler(generator, calls, orders)


def check_sampler(sampler: str, eta: float = 0.0, order: int | None = None) -> Sampler:
    """Return the sampler of a name.

    :raises UserError: if there is none, eta is out of range, or it has no such order
    """
    if not 0 <= arguments.number("eta", eta) < float("inf"):
        raise UserError(f"eta must be a number >= 0, got {eta}")
    chosen = SAMPLERS[arguments.one_of("sampler", sampler, tuple(SAMPLERS))]
    if eta and not chosen.takes("eta") and sampler != "ddpm_noisy":  # officially ignored there
        raise UserError(f"eta {eta:g}: the sampler {sampler} takes none; use 0")
    if order is not None and arguments.integer("order", order) not in chosen.orders:
        choices = f"is one of {', '.join(map(str, chosen.orders))}"
        rule = choices if chosen.orders else "is fixed; leave it out"
        raise UserError(f"order {order}: the order of the sampler {sampler} {rule}")
    return chosen


def walk(
    sampler: str,
    predict: Callable[[Any, float], Any],
    x_T: Any,
    timesteps: Sequence[float],
    schedule: Schedule,
    *,
    order: int | None = None,
    eta: float = 0.0,
    prediction: str = "eps",
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Walk from x_T to x_0 on arrays of any framework, without an engine.

    :param predict: (x_t, t) -> the network's output for a batch whose images are all at t
    :param x_T: (B, C, H, W), standard normal
    :param timesteps: strictly ascending, in 0 … T-1, integers or fractions; they are walked from
        the last to the first
    :param order: of a sampler that has several; None: its usual one
    :param eta: the stochasticity of ``ddim``, >= 0 (eq. 16)
    :param prediction: what the network predicts: ``eps``, ``x0`` or ``v``
    :param noise: network call k -> array, asked only for calls whose step adds noise
    :raises UserError: at once, if an argument is out of range; if noise is needed and there is
        none, at the first step that adds some
    """
    chosen = check_sampler(sampler, eta, order)
    steps = check_timesteps(
        timesteps, schedule, arguments.one_of("prediction", prediction, PREDICTIONS)
    )
    options = {"eta": eta, "order": order, "noise": noise or _no_noise}
    taken = {
        name: value for name, value in options.items() if chosen.takes(name) and value is not None
    }
    return chosen.walk(model_of(predict, schedule, prediction), x_T, steps, schedule, **taken)


def model_of(
    predict: Callable[[Any, float], Any], schedule: Schedule, prediction: str = "eps"
) -> Model:
    """Return what a sampler calls: (x_t, t) -> (x0, eps), by way of the network's output."""

    def model(x_t: Any, t: float) -> tuple[Any, Any]:
        return x0_and_eps(prediction, predict(x_t, t), x_t, schedule.alpha_bar_at(t))

    return model


def _no_noise(k: int) -> Any:
    raise UserError(f"the sampler adds noise after network call {k}: give noise, a function of k")
