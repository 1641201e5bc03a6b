"""Multistep samplers: DDIM's step with the mean of the network's output over the step.

Between two timesteps the ODE of DDIM has the exact solution (Lu et al., DPM-Solver++, arXiv
2211.01095, eq. 8; DPM-Solver, arXiv 2206.00927, eq. 3.4), with h = lambda_next - lambda and u in
[0, 1] the fraction of the step done in lambda,

    x_next = sigma_next / sigma x + alpha_next h           integral e^{-h (1 - u)} x0(u) du
           = alpha_next / alpha x - alpha_next sigma / alpha h integral e^{-h u} eps(u) du.

If x0 (or eps) stays constant, this is DDIM's step. In general it is DDIM's step with the weighted
mean of x0 (or eps). A multistep method takes that mean of the polynomial through the latest
outputs, which costs no network call. The methods differ in what :class:`Method` lists.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.diffusion.parametrization import x0_and_eps
from jittor_ddim.diffusion.samplers.ddim import ddim_step, sigma_of
from jittor_ddim.diffusion.samplers.heun import heun_step
from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule, half_log_snr

Doubles = NDArray[np.float64]
#: (h, n) -> the weighted means of u^0 … u^{n-1} over a step, its moments.
Moments = Callable[[float, int], Doubles]
_X, _W = np.polynomial.legendre.leggauss(32)  # exact to rounding for any h of a schedule
_U = (_X + 1) / 2
#: With fewer timesteps than this, the last steps are of low order (``lower_order_final``).
_FEW = 15
_INVISIBLE = 0.02  # a sigma of less than three of 255 levels


def _exponential(growth: float, n: int) -> Doubles:
    """Return the moments with the weight e^{growth u}, by Gauss-Legendre quadrature."""
    weight = _W * np.exp(growth * (_U - (growth > 0)))  # at most 1, so that nothing overflows
    return (weight * _U ** np.arange(n)[:, None]).sum(axis=1) / weight.sum()


def _unipc(h: float, n: int) -> Doubles:
    """Exact, but u has the mean 1/2 where a line is integrated (section 3.2, B_2)."""
    return np.array([1, 0.5]) if n == 2 else _exponential(h, n)


def _dpmpp(h: float, n: int) -> Doubles:
    """As published: in 2M the mean of u is 1/2; in 3M that of u^2 is halved.

    Therefore 3M converges by the second order only as h goes to 0, if with a small error.
    """
    return _unipc(h, n) * (1, 1, 0.5)[:n]


def _deis(h: float, n: int) -> Doubles:
    return _exponential(-h, n)


def _adams_bashforth(h: float, n: int) -> Doubles:
    return _exponential(0, n)


class Method(NamedTuple):
    """What a multistep method is made of."""

    output: str  # what is averaged: "x0" or "eps"
    moments: Moments
    in_lambda: bool = True  # the polynomial's variable; False: it counts steps
    lower_order_below: float = 0  # in shorter walks the order is at most the number of steps left
    corrects: bool = False  # UniC: a new output corrects the step that led to it
    starts_with_heun: bool = False  # the first step has a second call


_DPMPP = Method("x0", _dpmpp, lower_order_below=_FEW)
_UNIPC = Method("x0", _unipc, lower_order_below=math.inf, corrects=True)
_DEIS = Method("eps", _deis, lower_order_below=_FEW)
_ADAMS = Method("eps", _adams_bashforth, in_lambda=False)
_PLMS = _ADAMS._replace(starts_with_heun=True)


def dpmpp_1m(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule
) -> Iterator[Step]:
    """DPM-Solver++ of first order, which is DDIM (arXiv 2211.01095, section 4.1)."""
    return _walk(_DPMPP, 1, model, x_t, schedule.descend(timesteps))


def dpmpp_2m(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule
) -> Iterator[Step]:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2)."""
    return _walk(_DPMPP, 2, model, x_t, schedule.descend(timesteps))


def dpmpp_3m(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule
) -> Iterator[Step]:
    """DPM-Solver++(3M), as in the code of its authors (github.com/LuChengTHU/dpm-solver)."""
    return _walk(_DPMPP, 3, model, x_t, schedule.descend(timesteps))


def sde_dpmpp_2m(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule, noise: Noise
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M) (arXiv 2211.01095, eq. 18): 2M's image, the noise of DDIM's eta = 1."""
    return _walk(_DPMPP, 2, model, x_t, schedule.descend(timesteps), noise)


def unipc(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule, order: int = 2
) -> Iterator[Step]:
    """UniPC-p with B_2 (arXiv 2302.04867, algorithms 5 and 6), p = ``order``.

    Each new output also corrects the step that led to it. x_t of a step is the predicted state,
    which the network sees.
    """
    return _walk(_UNIPC, order, model, x_t, schedule.descend(timesteps))


def deis(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule, order: int = 3
) -> Iterator[Step]:
    """DEIS with polynomials in log(sigma / alpha) (arXiv 2204.13902, section 3.3).

    Its variable has no value at sigma = 0. From timesteps that end above 0 the last step leads to
    timestep 0, if what noise is left there cannot be seen.
    """
    *steps, (t, t_next, a, _) = schedule.descend(timesteps)
    first = schedule.alpha_bar_at(0)
    end = first if t > 0 and (1 - first) ** 0.5 < _INVISIBLE else 1.0
    return _walk(_DEIS, order, model, x_t, [*steps, (t, t_next, a, end)])


def ipndm(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule, order: int = 3
) -> Iterator[Step]:
    """PNDM without extra calls: Adams-Bashforth's weights (Liu et al., arXiv 2202.09778, eq. 12).

    The first steps have the orders 1, 2, … (iPNDM, Zhang & Chen, arXiv 2204.13902). Order 3 came
    nearest to the exact solution with few calls (docs/samplers.md).
    """
    return _walk(_ADAMS, order, model, x_t, schedule.descend(timesteps))


def plms(model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule) -> Iterator[Step]:
    """PNDM without Runge-Kutta steps (arXiv 2202.09778, algorithm 2; "PLMS" of latent diffusion).

    The first step is Heun's, with a second call; the others are those of ``ipndm``.
    """
    return _walk(_PLMS, 4, model, x_t, schedule.descend(timesteps))


def calls_of_plms(timesteps: Sequence[float]) -> int:
    """Return how often the network is called: twice in the first of several steps, else once."""
    return len(timesteps) + (len(timesteps) > 1)


def encode(
    model: Model, x0: Any, timesteps: Sequence[float], schedule: Schedule, order: int
) -> Iterator[tuple[float, Any]]:
    """Walk from an image to the x_T that generates it: inversion, by DPM-Solver++ run upwards.

    With order 1 this is DDIM inversion (section 5.4, the ODE of eq. 14). The first step
    starts from the clean image, "timestep -1", whose noise the network is asked for at
    timesteps[0]; every later step asks at the timestep of the state.

    :param x0: (B, C, H, W) in the network's range
    :param timesteps: strictly ascending
    :yields: (t, x_t), up to t = timesteps[-1], whose x_t is the x_T of the sampler
    """
    _, eps = model(x0, timesteps[0])
    x_t = ddim_step(x0, eps, schedule.alpha_bar_at(timesteps[0]))
    yield timesteps[0], x_t
    alpha_bar = schedule.alpha_bar_at
    steps = [(t, above, alpha_bar(t), alpha_bar(above)) for t, above in pairwise(timesteps)]
    for step in _walk(_DPMPP._replace(lower_order_below=0), order, model, x_t, steps):
        yield step.t_next, step.x_t


class _Node(NamedTuple):
    """A network call: a point of the polynomial, and the state at which a step began."""

    place: float  # lambda, or the number of the step
    output: Any
    x_t: Any
    alpha_bar: float


def _walk(
    method: Method,
    order: int,
    model: Model,
    x_t: Any,
    steps: Iterable[tuple[float, float, float, float]],
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Take the steps (t, t_next, alpha_bar, alpha_bar_next).

    A step that begins at alpha_bar = 0 or ends at 1 is infinite in lambda, and DDIM's.

    :param noise: that of DDIM with eta = 1 is added at each step (eq. 16); None: nothing is
    """
    steps = list(steps)
    past: list[_Node] = []  # newest first
    used: list[_Node] = []  # of them, those that made the step before
    for k, (t, t_next, a, a_next) in enumerate(steps):
        x0, eps = model(x_t, t)
        here, there = (k, k + 1)
        if method.in_lambda:
            here, there = half_log_snr(a), half_log_snr(a_next)
        new = _Node(here, x0 if method.output == "x0" else eps, x_t, a)
        if method.corrects and used:
            # DDIM's step is linear: the better mean adds the step of what it changes. So the state
            # depends on what the network was given, and not on all corrected states before it,
            # whose graph a lazy engine would compile and compute anew at each step.
            change = _mean(method, used[0], [new, *used], here) - _mean(
                method, used[0], used, here
            )
            new = new._replace(x_t=x_t + _step(method, used[0]._replace(x_t=0.0), change, a))
        limit = len(steps) - k if len(steps) < method.lower_order_below else order
        used = [new, *past][: 1 if math.isinf(there - here) else min(order, limit)]
        sigma = sigma_of(a, a_next, 1.0) if noise else 0.0
        if method.starts_with_heun and k == 0:
            x_t = heun_step(model, x_t, x0, eps, t_next, a, a_next)
        elif a == 0:
            x_t, used = ddim_step(x0, eps, a_next, sigma), []
        else:
            x_t = _step(method, new, _mean(method, new, used, there), a_next, sigma)
        if noise and sigma > 0:
            x_t = x_t + sigma * noise(k)
        past = [] if a == 0 else [new, *past][: order - 1]
        yield Step(t, t_next, x_t, x0)


def _mean(method: Method, start: _Node, nodes: Sequence[_Node], there: float) -> Any:
    """Return the mean, from start to there, of the polynomial through the nodes.

    Their weights are those that give every polynomial of lower degree its mean.
    """
    if len(nodes) == 1:
        return nodes[0].output
    h = there - start.place
    places = np.array([(node.place - start.place) / h for node in nodes])
    powers = np.vander(places, increasing=True).T
    weights = np.linalg.solve(powers, method.moments(h, len(nodes)))
    return sum(w * node.output for w, node in zip(weights.tolist(), nodes, strict=True))


def _step(
    method: Method, start: _Node, mean: Any, alpha_bar_next: float, sigma: float = 0.0
) -> Any:
    """Take DDIM's step with a mean output."""
    x0, eps = x0_and_eps(method.output, mean, start.x_t, start.alpha_bar)
    return ddim_step(x0, eps, alpha_bar_next, sigma)
