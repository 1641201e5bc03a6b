"""``ddim spacing``: the timesteps that suit a network best."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.diffusion.found_spacing import (
    Found,
    choose,
    fine_timesteps,
    local_errors,
    read_found,
    write_found,
)
from jittor_ddim.diffusion.samplers import model_of
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import Timesteps
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.network import NetworkChoice
from jittor_ddim.sampling import initial_noise

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SpacingRequest(NetworkChoice):
    """What ``ddim spacing`` was asked for."""

    calls: tuple[int, ...]
    num_samples: int = 256
    seed: int = 1234
    out: Path | None = None  # None: spacing.json beside the weights
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
    fine = fine_timesteps(schedule)
    out = request.out or network.source.parent / "spacing.json"
    for count in request.calls:
        if not 1 <= count <= len(fine):
            raise UserError(f"`calls` must be in 1 … {len(fine)}, got {count}")
    if request.num_samples < 1:
        raise UserError(f"`num_samples` must be at least 1, got {request.num_samples}")
    if out.exists():
        read_found(out)  # another file is kept
    errors = _mean_errors(network.load(request.engine), config, request, fine)
    descending = fine[::-1]
    sequences = {
        count: [descending[position] for position in reversed(choose(errors, count))]
        for count in sorted(set(request.calls))
    }
    about = {"images": request.num_samples, "seed": request.seed, "fine_timesteps": len(fine)}
    with disk_errors(out):
        write_atomic(out, write_found(Found(network.fingerprint(), sequences), about))
    return {"file": str(out), "timesteps": sequences}


def _mean_errors(unet: UNet, config: Config, request: SpacingRequest, fine: Timesteps) -> Any:
    """Walk batch by batch, and return the mean of all images' errors."""
    schedule = Schedule.from_config(config.diffusion)

    def predict(x_t: Any, t: float) -> Any:
        return unet.to_host(unet.predict_on_device(unet.to_device(x_t), t)).copy()

    total: Any = 0.0
    batches = np.array_split(
        np.arange(request.num_samples), -(-request.num_samples // config.sampling.batch_size)
    )
    for number, rows in enumerate(batches, start=1):
        x_T = initial_noise(config, request.seed, rows.tolist())
        model = model_of(predict, schedule)
        total = total + len(rows) * local_errors(model, x_T, fine, schedule)
        _log.info("Trajectories: %d of %d batches", number, len(batches))
    return total / request.num_samples
