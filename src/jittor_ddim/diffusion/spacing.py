"""The timesteps at which the network is called, in sampling and in training."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.errors import UserError

#: Ascending; fractions where a spacing asks for them.
Timesteps = Sequence[float]


def uniform(schedule: Schedule, count: int) -> Timesteps:
    """Return tau_i = floor(i T / n), i = 0 … n-1: always n timesteps (diffusers: ``leading``).

    The official code steps by T // n, which is the same wherever n divides T and gives more than
    n timesteps elsewhere.
    """
    return [i * schedule.num_timesteps // count for i in range(count)]


def quad(schedule: Schedule, count: int) -> Timesteps:
    """Return tau_i = floor(linspace(0, sqrt(0.8 T), n)_i ^ 2): the official sequence.

    Its repeats, network calls that would change nothing, are dropped: at most n timesteps.
    """
    ramp = np.linspace(0, np.sqrt(schedule.num_timesteps * 0.8), count) ** 2
    return np.unique(ramp.astype(np.int64)).tolist()


def linspace(schedule: Schedule, count: int) -> Timesteps:
    """Return tau_i = round(i (T - 1) / n), i = 1 … n: from T-1, evenly, to one step above 0.

    Where n is nearly T, repeats are dropped.
    """
    ramp = np.linspace(0, schedule.num_timesteps - 1, count + 1)[1:]
    return np.unique(ramp.round().astype(np.int64)).tolist()


def trailing(schedule: Schedule, count: int) -> Timesteps:
    """Return tau_i = round(i T / n) - 1, i = 1 … n: from T-1 (Lin et al. 2023, table 2)."""
    ramp = np.arange(1, count + 1) * schedule.num_timesteps / count
    return (ramp.round().astype(np.int64) - 1).tolist()


def logsnr(schedule: Schedule, count: int) -> Timesteps:
    """Return n timesteps uniform in lambda, from T-1 to 0 (Lu et al. 2022, section 3.3)."""
    first, last = _ends(schedule)
    return schedule.timesteps_at(np.linspace(first, last, count) if count > 1 else last)


def karras(schedule: Schedule, count: int) -> Timesteps:
    """Return n timesteps uniform in (sigma / alpha)^(1/7), from T-1 to 0.

    Karras et al. 2022 (arXiv 2206.00364), eq. 5, with rho = 7.
    """
    first, last = np.exp(-_ends(schedule) / 7)
    ramp = np.linspace(first, last, count) if count > 1 else last
    steps = schedule.timesteps_at(-7 * np.log(ramp))
    steps[0], steps[-1] = steps[0] if count == 1 else 0.0, schedule.num_timesteps - 1.0
    return steps  # the ends without rounding


def _ends(schedule: Schedule) -> NDArray[np.float64]:
    """Return lambda at timesteps 0 and T-1.

    :raises UserError: if one of them is infinite
    """
    if schedule.alpha_bar[-1] == 0:
        raise UserError(
            "the spacings logsnr and karras need an image to be left at the last timestep, and "
            "this beta schedule leaves none (alpha_bar = 0): use the spacing trailing"
        )
    return schedule.lambdas[[0, -1]]


#: By name (schedule, n) -> ascending timesteps.
SPACINGS: dict[str, Callable[[Schedule, int], Timesteps]] = {
    "uniform": uniform,
    "quad": quad,
    "linspace": linspace,
    "trailing": trailing,
    "logsnr": logsnr,
    "karras": karras,
}


def make_timesteps(
    schedule: Schedule,
    count: int,
    spacing: str = "uniform",
    calls: Callable[[Sequence[float]], int] = len,
) -> Timesteps:
    """Return as many timesteps, ascending, as S network calls allow.

    :param count: S
    :param spacing: a name in :data:`SPACINGS`
    :param calls: the number of network calls of the sampler for given timesteps
    :raises UserError: if S is less than one timestep takes, or more than all T take
    """
    total = schedule.num_timesteps
    least, most = calls(range(1)), calls(range(total))
    if not least <= count <= most:
        raise UserError(f"timesteps must be in {least} … {most}, got {count}")
    return SPACINGS[spacing](schedule, most_timesteps(count, calls))


def most_timesteps(count: int, calls: Callable[[Sequence[float]], int]) -> int:
    """Return how many timesteps a sampler can take with S network calls; 0 if none."""
    return max((n for n in range(1, count + 1) if calls(range(n)) <= count), default=0)


def check_timesteps(
    sequence: Sequence[float], schedule: Schedule, prediction: str = "eps"
) -> Timesteps:
    """Return an explicit sequence as a list, once one can sample with it.

    :param prediction: what the network predicts
    :raises UserError: if it is empty, not strictly ascending or not in 0 … T-1, or if alpha_bar is
        0 at a timestep, as at the end of ``jsd``: of an eps x0 is undefined there, and x0 or v may
        only begin there
    """
    steps = arguments.numbers("timesteps", sequence)
    last = schedule.num_timesteps - 1
    if not steps:
        raise UserError("timesteps: the sequence is empty")
    if any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise UserError("timesteps: the sequence must be strictly ascending")
    if steps[0] < 0 or steps[-1] > last:
        raise UserError(f"timesteps: {steps[0]} … {steps[-1]} leaves the range 0 … {last}")
    for t in steps if prediction == "eps" else steps[:-1]:
        if schedule.alpha_bar_at(t) == 0:
            raise UserError(
                f"timestep {t} keeps nothing of the image (alpha_bar = 0 in this beta schedule): "
                f"sample with timesteps below {t}, or, if it is the highest, let the network "
                "predict x0 or v"
            )
    return steps


def antithetic_timesteps(
    rng: np.random.Generator, batch_size: int, num_timesteps: int
) -> NDArray[np.int64]:
    """Draw the timesteps of a training batch in pairs t, T-1-t, which lowers the loss's variance.

    n//2 + 1 draws, then their mirror images, cut to n: the official order.

    :returns: int64 (n,) in 0 … T-1
    """
    draws = rng.integers(0, num_timesteps, batch_size // 2 + 1)
    return np.concatenate([draws, num_timesteps - 1 - draws])[:batch_size]
