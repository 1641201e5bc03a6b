"""Timesteps found for one network: dense where its trajectories bend.

Chen et al. 2024 (GITS, arXiv 2405.11326), section 4: along fine trajectories, the local error of
one long step between any two of their states is known without another network call, and dynamic
programming finds the sequence of steps whose errors are least.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.diffusion.samplers.ddim import ddim_step
from jittor_ddim.diffusion.samplers.multistep import dpmpp_2m
from jittor_ddim.diffusion.samplers.step import Model
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import Timesteps, karras
from jittor_ddim.errors import UserError

Doubles = NDArray[np.float64]
#: Timesteps of the fine trajectories, among which the few are chosen.
FINE = 60
#: So much more may a step's error count than that of the step before, which the network mends in
#: part on the way. The authors' 1.15 does not suit every network: `ddim spacing` tries each of
#: these, and the common spacings beside them.
WEIGHTS = (1.0, 1.05, 1.1, 1.15, 1.2)


class Found(NamedTuple):
    """What a file of found timesteps says."""

    network: str  # its fingerprint
    sequences: Mapping[int, Timesteps]  # by their length
    origins: Mapping[int, Mapping[str, Any]] = {}  # how each was found, by the same


def fine_timesteps(schedule: Schedule) -> Timesteps:
    """Return the timesteps, ascending, from which sequences are chosen."""
    return karras(schedule, min(FINE, schedule.num_timesteps))


def local_errors(
    model: Model, x_T: NDArray[np.float32], timesteps: Sequence[float], schedule: Schedule
) -> tuple[Doubles, Any]:
    """Return how far a step of DDIM from one state of the fine trajectories misses a later one.

    Also return the images at the end of these trajectories.

    :param model: on NumPy arrays
    :param x_T: (B, C, H, W)
    :param timesteps: ascending, of the fine trajectories
    :returns: (n, n + 1): from the i-th timestep walked to the j-th, or to the image (j = n); the
        mean of the Euclidean distances of x / alpha, infinite where j <= i. In x / alpha the ODE
        has no linear part; in x an error would grow by 1 / alpha on the way
    """
    outputs: list[tuple[Any, Any]] = []

    def recorded(x_t: Any, t: float) -> tuple[Any, Any]:
        outputs.append(model(x_t, t))
        return outputs[-1]

    alpha_bars = [schedule.alpha_bar_at(t) for t in (*reversed(timesteps), -1)]
    errors, end = np.full((len(timesteps), len(alpha_bars)), np.inf), None
    for j, step in enumerate(dpmpp_2m(recorded, x_T, timesteps, schedule), start=1):
        end = step.x_t
        for i, (x0, eps) in enumerate(outputs):
            miss = (ddim_step(x0, eps, alpha_bars[j]) - step.x_t).reshape(len(x_T), -1)
            errors[i, j] = np.linalg.norm(miss, axis=1).mean() / alpha_bars[j] ** 0.5
    return errors, end


def choose(errors: Doubles, count: int, weight: float) -> list[int]:
    """Return the ``count`` positions, ascending from 0, whose steps miss least to the end.

    :param errors: see :func:`local_errors`
    :param weight: of a step's error, relative to that of the step before
    """
    n = len(errors)
    cost, choices = errors[:, n], []  # of one step, from each position to the end
    for _ in range(count - 1):
        options = errors[:, :n] + weight * cost  # [i, j]: first from i to j
        choices.append(options.argmin(axis=1))
        cost = options.min(axis=1)
    path = [0]
    for following in reversed(choices):
        path.append(int(following[path[-1]]))
    return path


def write_found(found: Found) -> bytes:
    """Return a file's content."""
    origins, sequences = (
        {str(count): value for count, value in sorted(values.items())}
        for values in (found.origins, found.sequences)
    )
    tree = {"network": found.network, "origins": origins, "timesteps": sequences}
    return (json.dumps(tree, indent=1) + "\n").encode()


def read_found(path: Path) -> Found:
    """Read what :func:`write_found` makes.

    :raises UserError: if there is no such file, or it is another one
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
        sequences = {
            int(count): [*map(float, steps)] for count, steps in tree["timesteps"].items()
        }
        origins = {int(count): dict(how) for count, how in tree.get("origins", {}).items()}
        return Found(str(tree["network"]), sequences, origins)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make it with `ddim spacing`") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: holds no timesteps; make it with `ddim spacing`") from None
