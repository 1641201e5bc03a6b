"""Fill the S x eta table of one network, and report."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.console.progress import progress
from jittor_ddim.diffusion.found_spacing import read_found
from jittor_ddim.diffusion.settings import usual_spacing
from jittor_ddim.engines import ENGINES, check_engine, describe_engine
from jittor_ddim.engines.choice import check_compile, check_device, check_options
from jittor_ddim.errors import EngineError, UserError
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.evaluation.reference import check_reference
from jittor_ddim.network import Network, NetworkChoice
from jittor_ddim.ranks import this_rank
from jittor_ddim.sweep.fill import fill, work
from jittor_ddim.sweep.gather import gather
from jittor_ddim.sweep.layout import NETWORK
from jittor_ddim.sweep.plan import LEAST_PAIRS, PLACE, Grid, Plan
from jittor_ddim.sweep.results import Variant

#: Starts an engine's process; the sweep's folder and three more arguments follow.
COMMAND = (sys.executable, "-m", "jittor_ddim.sweep.session")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SweepRequest(NetworkChoice):
    """What ``ddim sweep`` was asked for."""

    timesteps: tuple[int, ...]
    time_only: tuple[int, ...]  # S that are timed on one batch, without a distance
    variants: tuple[Variant, ...]
    engine: str | None  # one, or all; None: the first, and the others where they are installed
    num_samples: int | None  # None: the config's
    skip: str | None
    seed: int
    batch_size: int | None  # None: the config's
    reference: str
    extractor: ExtractorChoice
    out: Path | None  # None: exp/sweeps/NAME
    device: str
    precision: str
    compile: bool  # the network, where an engine has the choice
    verbose: str
    command: str  # what was typed, for the report


def run_sweep(request: SweepRequest) -> dict[str, Any]:
    """Fill the table, or what is missing of it, and return where it is and what is in it.

    :raises UserError: for anything wrong with the request, before an engine starts
    """
    setup_logging(None, request.verbose)
    if not (rank := this_rank()).is_alone:
        # Its table holds seconds per image, which mean nothing beside other processes.
        raise UserError(f"a sweep measures time; run it in one process, not in {rank.size}")
    engines = _engines(request.engine)
    check_device(request.device, request.precision)
    check_compile(request.compile, engines)
    network = request.find_network()
    check_reference(request.reference, network.config)
    plan = _plan(request, network)
    grid = Grid(request.timesteps, request.time_only, request.variants, engines)
    _check(plan, grid)
    name = _name(request, network)
    folder = request.out or request.exp / "sweeps" / name
    PLACE.check(folder)
    if grid.timesteps:
        size = network.config.data.image_size
        request.extractor.check((size, size))
    with PLACE.held(folder):
        return _run(request, network, plan, grid, folder, name)


def _run(
    request: SweepRequest, network: Network, plan: Plan, grid: Grid, folder: Path, name: str
) -> dict[str, Any]:
    # Not at the top: matplotlib would slow down the start of other commands.
    from jittor_ddim.sweep.report import write_report

    if PLACE.claim(folder, plan):
        _log.info("Continuing the sweep in %s", folder)
    total, done = work(plan, grid, folder)
    if done < total:
        save_weights(folder / NETWORK, network.weights, network.config)
    line = [*COMMAND, str(folder), str(request.exp), str(request.extractor.weights or "")]
    with progress(total, "Sweep (images x calls)", start=done) as bar:
        fill(plan, grid, folder, line, lambda count, cell: bar.advance(count, cell=cell))
    sweep = gather(plan, grid, folder, name, request.command)
    files = write_report(sweep, folder)
    shown = {"engine", "timesteps", "eta", "images", "seconds_per_image", "distance"}
    return {
        "folder": str(folder),
        "files": [str(path) for path in files],
        "distance_name": sweep.distance_name,
        "cells": [cell.model_dump(include=shown) for cell in sweep.cells],
        "pairs": [pair.model_dump() for pair in sweep.pairs],
        "failures": sweep.failures,
    }


def _engines(wanted: str | None) -> tuple[str, ...]:
    """The engines to sweep, each of which is installed."""
    check_options(("engine", wanted or "all", ("all", "both", *ENGINES)))
    engines = (wanted,) if wanted in ENGINES else tuple(ENGINES)
    installed = []
    for name in engines:
        try:
            check_engine(name)
            installed.append(name)
        except EngineError:
            if wanted or name == ENGINES[0]:
                raise
            title = describe_engine(name).title
            _log.info("%s is not installed: its part of the table is left out", title)
    return tuple(installed)


def _plan(request: SweepRequest, network: Network) -> Plan:
    sampling, images = network.config.sampling, request.num_samples
    skip = request.skip or usual_spacing(network.config.diffusion)
    path = skip.removeprefix("found:")
    found = None if path == skip else read_found(Path(path))
    if found and found.network != network.fingerprint():
        _log.warning("`spacing` %s was found for another network", skip)
    return Plan(
        config=network.config,
        network=network.fingerprint(),
        images=sampling.num_samples if images is None else images,
        seed=request.seed,
        skip="found" if found else skip,
        found=found,
        batch_size=request.batch_size or sampling.batch_size,
        reference=request.reference,
        features=request.extractor.features,
        mode=request.extractor.mode,
        device=request.device,
        precision=request.precision,
        compile=request.compile,
    )


def _check(plan: Plan, grid: Grid) -> None:
    """Refuse a table without rows, or with cells that cannot be sampled or compared."""
    if not grid.cells():
        raise UserError("a sweep needs at least one S (`timesteps`, `time_only`) and one `eta`")
    paired = len(grid.engines) > 1
    least, reason = (LEAST_PAIRS, "a paired difference") if paired else (2, "a covariance")
    if plan.images < least:
        raise UserError(f"`num_samples` {plan.images}: {reason} needs at least {least} images")
    for wanted in grid.cells():
        plan.calls(wanted.row)


def _name(request: SweepRequest, network: Network) -> str:
    """The run's name, or that of the weights' file."""
    of_run = not (request.pretrained or request.model or request.use_pretrained)
    name = network.source.parent.name if of_run else network.source.stem
    return f"{name}-raw" if request.weights == "raw" else name
