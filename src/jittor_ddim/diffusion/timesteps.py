"""Which timesteps the network is called at, in sampling and in training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.errors import UserError

SKIPS = ("uniform", "quad")


def make_timesteps(num_timesteps: int, count: int, skip: str = "uniform") -> list[int]:
    """Return the ascending sub-sequence tau of the T timesteps (DDIM, section 4.2 and D.2).

    ``uniform``: tau_i = floor(i T / S), i = 0 … S-1: always S steps. The official code steps by
    T // S instead, which is the same wherever S divides T and more than S steps elsewhere.

    ``quad``: tau_i = floor(linspace(0, sqrt(0.8 T), S)_i ^ 2), the official sequence without its
    repeats (a repeat would be a call that changes nothing), so at most S steps.

    :param num_timesteps: T
    :param count: S, in 1 … T
    :param skip: ``uniform`` or ``quad``
    :raises UserError: if S is out of range or the skip is unknown
    """
    if not 1 <= count <= num_timesteps:
        raise UserError(f"timesteps must be in 1 … {num_timesteps}, got {count}")
    if skip == "uniform":
        return [i * num_timesteps // count for i in range(count)]
    if skip == "quad":
        ramp = np.linspace(0, np.sqrt(num_timesteps * 0.8), count) ** 2
        return np.unique(ramp.astype(np.int64)).tolist()
    raise UserError(f"skip must be one of {', '.join(SKIPS)}, got {skip!r}")


def check_timesteps(sequence: Sequence[int], num_timesteps: int) -> list[int]:
    """Return an explicit sequence as a list, once it is ascending, unrepeated and in 0 … T-1.

    :raises UserError: saying what is wrong with it
    """
    steps = [*arguments.integers("timesteps", sequence)]
    if not steps:
        raise UserError("timesteps: the sequence is empty")
    if any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise UserError("timesteps: the sequence must be strictly ascending")
    if steps[0] < 0 or steps[-1] >= num_timesteps:
        raise UserError(
            f"timesteps: {steps[0]} … {steps[-1]} leaves the range 0 … {num_timesteps - 1}"
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
