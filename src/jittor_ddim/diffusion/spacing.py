"""The timesteps at which the network is called, in sampling and in training."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.errors import UserError


def uniform(num_timesteps: int, count: int) -> list[int]:
    """Return tau_i = floor(i T / n), i = 0 … n-1: always n timesteps.

    The official code steps by T // n, which is the same wherever n divides T and gives more than
    n timesteps elsewhere.
    """
    return [i * num_timesteps // count for i in range(count)]


def quad(num_timesteps: int, count: int) -> list[int]:
    """Return tau_i = floor(linspace(0, sqrt(0.8 T), n)_i ^ 2): the official sequence.

    Its repeats, network calls that would change nothing, are dropped: at most n timesteps.
    """
    ramp = np.linspace(0, np.sqrt(num_timesteps * 0.8), count) ** 2
    return np.unique(ramp.astype(np.int64)).tolist()


#: By name (T, n) -> ascending timesteps (DDIM, section 4.2 and D.2).
SPACINGS = {"uniform": uniform, "quad": quad}


def make_timesteps(
    num_timesteps: int,
    count: int,
    spacing: str = "uniform",
    calls: Callable[[Sequence[int]], int] = len,
) -> list[int]:
    """Return as many of the T timesteps, ascending, as S network calls allow.

    :param num_timesteps: T
    :param count: S
    :param spacing: a name in :data:`SPACINGS`
    :param calls: the number of network calls of the sampler for given timesteps
    :raises UserError: if S is less than one timestep takes, or more than all T take
    """
    least, most = calls(range(1)), calls(range(num_timesteps))
    if not least <= count <= most:
        raise UserError(f"timesteps must be in {least} … {most}, got {count}")
    number = max(n for n in range(1, num_timesteps + 1) if calls(range(n)) <= count)
    return SPACINGS[spacing](num_timesteps, number)


def check_timesteps(
    sequence: Sequence[int], schedule: Schedule, prediction: str = "eps"
) -> list[int]:
    """Return an explicit sequence as a list, once one can sample with it.

    :param prediction: what the network predicts
    :raises UserError: if it is empty, not strictly ascending or not in 0 … T-1, or if alpha_bar is
        0 at a timestep, as at the end of ``jsd``, and the network predicts eps: x0 is undefined
    """
    steps = [*arguments.integers("timesteps", sequence)]
    last = schedule.num_timesteps - 1
    if not steps:
        raise UserError("timesteps: the sequence is empty")
    if any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise UserError("timesteps: the sequence must be strictly ascending")
    if steps[0] < 0 or steps[-1] > last:
        raise UserError(f"timesteps: {steps[0]} … {steps[-1]} leaves the range 0 … {last}")
    for t in steps if prediction == "eps" else ():
        if schedule.alpha_bar_at(t) == 0:
            raise UserError(
                f"timestep {t} keeps nothing of the image (alpha_bar = 0 in this beta schedule): "
                f"sample with timesteps below {t}, or train another prediction than eps"
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
