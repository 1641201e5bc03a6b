"""``ddim spacing``: the timesteps that suit a network best."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.checkpoints.native import STATE
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.diffusion.found_spacing import (
    WEIGHTS,
    Found,
    choose,
    fine_timesteps,
    local_errors,
    read_found,
    write_found,
)
from jittor_ddim.diffusion.samplers import model_of
from jittor_ddim.diffusion.samplers.multistep import ipndm
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import SPACINGS, Timesteps
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.guidance import Classes, predictor
from jittor_ddim.network import NetworkChoice
from jittor_ddim.sampling import initial_noise

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SpacingRequest(NetworkChoice):
    """What ``ddim spacing`` was asked for."""

    calls: tuple[int, ...]
    num_samples: int = 256
    seed: int = 1234
    out: Path | None = None  # None: beside the weights, or in exp/spacings
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def find_spacing(request: SpacingRequest) -> dict[str, Any]:
    """Find the timesteps, write them, and return them by their number.

    :raises UserError: for anything wrong with the request, before an engine starts
    """
    setup_logging(None, request.verbose)
    request.engine.check()
    network = request.find_network()
    config = network.config
    schedule = Schedule.from_config(config.diffusion)
    if schedule.alpha_bar[-1] == 0:
        raise UserError(
            "timesteps are found only where some signal is left at the last one, and this beta "
            "schedule leaves none (alpha_bar = 0); sample with `spacing` trailing"
        )
    fine = fine_timesteps(schedule)
    out = request.out or _place(network.source)
    if request.model and not request.out:  # no file of ours among those of the package
        out = request.exp / "spacings" / f"{request.model}.json"
    for count in request.calls:
        if not 1 <= count <= len(fine):
            raise UserError(f"`calls` must be in 1 … {len(fine)}, got {count}")
    if request.num_samples < 1:
        raise UserError(f"`num_samples` must be at least 1, got {request.num_samples}")
    earlier = read_found(out) if out.exists() else None  # refuses a file of another kind
    errors, trial = _walk_finely(network.load(request.engine), config, request, fine)
    sequences, origins = {}, {}
    for count in sorted(set(request.calls)):
        by, steps, distance = _best(_candidates(errors, count, fine, schedule), trial)
        sequences[count] = steps
        origins[count] = {
            "by": by, "distance": distance, "seed": request.seed, "images": request.num_samples,
            "images_of_distance": min(request.num_samples, config.sampling.batch_size),
        }  # fmt: skip
        _log.info("%d calls: %s; ipndm then ends %.4f from the fine end", count, by, distance)
    if earlier and earlier.network == network.fingerprint():
        sequences, origins = {**earlier.sequences, **sequences}, {**earlier.origins, **origins}
    elif earlier:
        _log.warning("%s: replaced; what it held was found for another network", out)
    with disk_errors(out):
        write_atomic(out, write_found(Found(network.fingerprint(), sequences, origins)))
    return {"file": str(out), "timesteps": sequences, "origins": origins}


def _place(source: Path) -> Path:
    """Return where the timesteps of these weights belong: in their run or folder, or beside."""
    if not source.is_dir():
        return source.with_name(f"{source.name}.spacing.json")
    folder = source.parent if (source / STATE).is_file() else source  # of a run's ckpt_N
    return folder / "spacing.json"


def _walk_finely(
    unet: UNet, config: Config, request: SpacingRequest, fine: Timesteps
) -> tuple[NDArray[np.float64], Callable[[Timesteps], float]]:
    """Walk batch by batch, classes in turn, and return the mean of all images' errors.

    Also return how far `ipndm` with other timesteps ends from there, for the first batch: the
    root of the mean square over pixels.
    """
    schedule, size = Schedule.from_config(config.diffusion), config.sampling.batch_size
    total, trials = np.zeros((len(fine), len(fine) + 1)), []
    for start in range(0, request.num_samples, size):
        rows = range(start, min(start + size, request.num_samples))
        network = predictor(unet, config, rows, *Classes.every(config).of(rows))

        def predict(x_t: Any, t: float, network: Any = network) -> Any:
            return unet.to_host(network(unet.to_device(x_t), t)).copy()

        model = model_of(predict, schedule, config.diffusion.prediction)
        x_T = initial_noise(config, request.seed, rows)
        errors, end = local_errors(model, x_T, fine, schedule)
        total += len(rows) * errors
        trials = trials or [(model, x_T, end)]
        _log.info("Trajectories: %d of %d", rows.stop, request.num_samples)
    model, x_T, end = trials[0]

    def trial(timesteps: Timesteps) -> float:
        [last] = deque(ipndm(model, x_T, timesteps, schedule), maxlen=1)
        return float(np.sqrt(np.mean((last.x_t - end) ** 2)))

    return total / request.num_samples, trial


def _candidates(
    errors: NDArray[np.float64], count: int, fine: Timesteps, schedule: Schedule
) -> dict[str, list[float]]:
    """Return the sequences to try: one for each weight, and the common ones."""
    found = {
        f"weight {weight:g}": [fine[::-1][p] for p in reversed(choose(errors, count, weight))]
        for weight in WEIGHTS
    }
    common = {name: [*map(float, make(schedule, count))] for name, make in SPACINGS.items()}
    # Where there are many, quad repeats some.
    return found | {name: steps for name, steps in common.items() if len(set(steps)) == count}


def _best(
    candidates: dict[str, list[float]], trial: Callable[[Timesteps], float]
) -> tuple[str, list[float], float]:
    """Return the candidate that ends nearest, with its name and its distance."""
    distances: dict[tuple[float, ...], float] = {}  # of equal ones, measured once
    for steps in candidates.values():
        if tuple(steps) not in distances:
            distances[tuple(steps)] = trial(steps)
    by = min(candidates, key=lambda name: distances[tuple(candidates[name])])
    return by, candidates[by], distances[tuple(candidates[by])]
