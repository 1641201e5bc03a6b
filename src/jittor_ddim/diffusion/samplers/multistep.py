"""Samplers that remember: DDIM's step with the mean of the network's output over the step.

Between two timesteps the ODE of DDIM has the exact solution (Lu et al., DPM-Solver++, arXiv
2211.01095, eq. 8; DPM-Solver, arXiv 2206.00927, eq. 3.4), with h = lambda_next - lambda and u in
[0, 1] the way gone in lambda,

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

from jittor_ddim.diffusion.parametrization import diffuse, x0_and_eps
from jittor_ddim.diffusion.samplers.ddim import move, sigma_of
from jittor_ddim.diffusion.samplers.heun import heun_step
from jittor_ddim.diffusion.samplers.step import Model, Noise, Step
from jittor_ddim.diffusion.schedule import Schedule, log_snr

Doubles = NDArray[np.float64]
#: (h, n) -> the means of u^0 … u^{n-1} over a step.
Means = Callable[[float, int], Doubles]
_X, _W = np.polynomial.legendre.leggauss(32)
_U = (_X + 1) / 2
#: With fewer timesteps than this, the last steps are of low order (``lower_order_final``).
_FEW = 15


def _exponential_means(growth: float, n: int) -> Doubles:
    """Return the means of u^k with the weight e^{growth u}, by Gauss-Legendre quadrature."""
    weight = _W * np.exp(growth * (_U - (growth > 0)))
    return (weight * _U ** np.arange(n)[:, None]).sum(axis=1) / weight.sum()


def _of_x0(h: float, n: int) -> Doubles:
    """UniPC's: exact, but u has the mean 1/2 where a line is integrated (section 3.2, B_2)."""
    return np.array([1, 0.5]) if n == 2 else _exponential_means(h, n)


def _of_dpmpp(h: float, n: int) -> Doubles:
    """DPM-Solver++'s as published: in 2M the mean of u is 1/2; in 3M that of u^2 is halved.

    Therefore 3M converges by the second order only as h goes to 0, if with a small error.
    """
    return _of_x0(h, n) * (1, 1, 0.5)[:n]


def _of_eps(h: float, n: int) -> Doubles:
    return _exponential_means(-h, n)


def _of_equal_steps(h: float, n: int) -> Doubles:
    return _exponential_means(0, n)


class Node(NamedTuple):
    """A point of a polynomial."""

    place: float  # lambda, or the number of the step
    output: Any


class Method(NamedTuple):
    """A row of the table."""

    output: str  # what is averaged: "x0" or "eps"
    means: Means
    in_lambda: bool = True  # the polynomial's variable; False: it counts steps
    lowers: float = 0  # in shorter walks, a step's order is at most the number of steps left
    corrects: bool = False
    eta: float = 0.0  # of the noise that each step adds (DDIM eq. 16)


_DPMPP = Method("x0", _of_dpmpp, lowers=_FEW)
_SDE_DPMPP = _DPMPP._replace(eta=1.0)
_UNIPC = Method("x0", _of_x0, lowers=math.inf, corrects=True)
_DEIS = Method("eps", _of_eps, lowers=_FEW)
_ADAMS = Method("eps", _of_equal_steps, in_lambda=False)


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
    return _walk(_SDE_DPMPP, 2, model, x_t, schedule.descend(timesteps), noise)


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
    timestep 0, whose noise cannot be seen.
    """
    *steps, (t, t_next, a, _) = schedule.descend(timesteps)
    end = schedule.alpha_bar_at(0 if t > 0 else -1)
    return _walk(_DEIS, order, model, x_t, [*steps, (t, t_next, a, end)])


def ipndm(
    model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule, order: int = 4
) -> Iterator[Step]:
    """PNDM without extra calls: Adams-Bashforth's weights (Liu et al., arXiv 2202.09778, eq. 12).

    The first steps have the orders 1, 2, … (iPNDM, Zhang & Chen, arXiv 2204.13902).
    """
    return _walk(_ADAMS, order, model, x_t, schedule.descend(timesteps))


def plms(model: Model, x_t: Any, timesteps: Sequence[float], schedule: Schedule) -> Iterator[Step]:
    """PNDM without Runge-Kutta steps (arXiv 2202.09778, algorithm 2; "PLMS" of latent diffusion).

    The first step is Heun's, with a second call; the others are those of ``ipndm``.
    """
    return _walk(_ADAMS, 4, model, x_t, schedule.descend(timesteps), starts_with_heun=True)


def calls_of_plms(timesteps: Sequence[float]) -> int:
    """Return how often the network is called: twice in the first of several steps, else once."""
    return len(timesteps) + (len(timesteps) > 1)


def encode(
    model: Model, x0: Any, timesteps: Sequence[float], schedule: Schedule, order: int
) -> Iterator[tuple[float, Any]]:
    """Walk from an image to the x_T that generates it: DPM-Solver++ run upwards.

    With order 1 this is DDIM's (section 5.4), the ODE of eq. 14 by Euler's method. The first step
    starts from the clean image, "timestep -1", whose noise the network is asked for at
    timesteps[0]; every later step asks at the timestep of the state.

    :param x0: (B, C, H, W) in the network's range
    :param timesteps: strictly ascending
    :yields: (t, x_t), up to t = timesteps[-1], whose x_t is the x_T of the sampler
    """
    _, eps = model(x0, timesteps[0])
    x_t = diffuse(x0, eps, schedule.alpha_bar_at(timesteps[0]))
    yield timesteps[0], x_t
    alpha_bar = schedule.alpha_bar_at
    steps = [(t, above, alpha_bar(t), alpha_bar(above)) for t, above in pairwise(timesteps)]
    for step in _walk(_DPMPP._replace(lowers=0), order, model, x_t, steps):
        yield step.t_next, step.x_t


def _walk(
    method: Method,
    order: int,
    model: Model,
    x_t: Any,
    steps: Iterable[tuple[float, float, float, float]],
    noise: Noise | None = None,
    starts_with_heun: bool = False,
) -> Iterator[Step]:
    """Take the steps (t, t_next, alpha_bar, alpha_bar_next).

    A step that begins at alpha_bar = 0 or ends at 1 is infinite in lambda, and DDIM's.
    """
    steps = list(steps)
    past: list[Node] = []  # of the calls before, newest first
    used: list[Node] = []  # of them, those that made the step before
    start: tuple[Any, float] = x_t, 0.0  # the state where it began, and alpha_bar there
    for k, (t, t_next, a, a_next) in enumerate(steps):
        x0, eps = model(x_t, t)
        here, there = (log_snr(a), log_snr(a_next)) if method.in_lambda else (k, k + 1)
        new = Node(here, x0 if method.output == "x0" else eps)
        if method.corrects and used:
            x_t = _step(method, [new, *used], used[0].place, here, *start, a)
        left = len(steps) - k if len(steps) < method.lowers else order
        used = [new, *past][: 1 if math.isinf(there - here) else min(order, left)]
        start = x_t, a
        sigma = sigma_of(a, a_next, method.eta) if method.eta else 0.0
        if starts_with_heun and k == 0:
            x_t = heun_step(model, x_t, x0, eps, t_next, a, a_next)
        elif a == 0:
            x_t, used = move(x0, eps, a_next, sigma), []
        else:
            x_t = _step(method, used, here, there, *start, a_next, sigma)
        if noise and sigma > 0:
            x_t = x_t + sigma * noise(k)
        past = [] if a == 0 else [new, *past][: order - 1]
        yield Step(t, t_next, x_t, x0)


def _step(
    method: Method,
    nodes: Sequence[Node],
    here: float,
    there: float,
    x_t: Any,
    alpha_bar: float,
    alpha_bar_next: float,
    sigma: float = 0.0,
) -> Any:
    """Take DDIM's step with the mean, from here to there, of the polynomial through the nodes."""
    mean = nodes[0].output
    if len(nodes) > 1:
        h = there - here
        places = np.array([(node.place - here) / h for node in nodes])
        powers = np.vander(places, increasing=True).T
        weights = np.linalg.solve(powers, method.means(h, len(nodes)))
        mean = sum(w * node.output for w, node in zip(weights.tolist(), nodes, strict=True))
    x0, eps = x0_and_eps(method.output, mean, x_t, alpha_bar)
    return move(x0, eps, alpha_bar_next, sigma)
