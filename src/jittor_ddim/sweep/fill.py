"""Fill a sweep's table: cell after cell, each engine in its own process, one at work at a time.

The cells of the two engines alternate, so that what else happens on the machine hits both. A cell
leaves a file when it is done: an interrupted sweep goes on with the first that is missing, and an
engine that fails leaves the other's cells whole.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from jittor_ddim.atomic import write_atomic
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.paired import paired_difference
from jittor_ddim.parity.contender import Contender, start_contenders
from jittor_ddim.parity.layout import FAILURE
from jittor_ddim.sweep.layout import (
    NETWORK,
    cell_file,
    features_file,
    pair_file,
    time_file,
)
from jittor_ddim.sweep.plan import Grid, Plan, Wanted
from jittor_ddim.sweep.reference import load_reference
from jittor_ddim.sweep.results import Cell, Pair

#: (images x network calls done, of which engine and cell).
Advance = Callable[[int, str], None]

_log = logging.getLogger(__name__)


def fill(plan: Plan, grid: Grid, folder: Path, command: Sequence[str], advance: Advance) -> None:
    """Do every cell of the grid that is not done yet.

    :param folder: the sweep's, with the plan and the weights in it
    :param command: what starts a side's process; the engine's name is added
    :param advance: called after every batch
    :raises UserError: if an engine is not to be had, or devices differ
    """
    for engine in grid.engines:
        (folder / engine / FAILURE).unlink(missing_ok=True)
    missing = [
        engine
        for engine in grid.engines
        if not all(is_done(folder, engine, wanted) for wanted in grid.cells())
    ]
    with ExitStack() as stack:
        contenders = start_contenders(stack, missing, folder, command)
        for device in {c.device for c in contenders if c.device}:
            _check_device(folder, device)
        for wanted in grid.cells():
            for contender in contenders:
                if not is_done(folder, contender.name, wanted):
                    _do(contender, plan, grid, wanted, advance)
            if wanted.distance and len(grid.engines) == 2:
                _pair(folder, grid.engines, wanted)
    if is_complete(grid, folder):
        (folder / NETWORK).unlink(missing_ok=True)  # the command finds it again if it must


def is_done(folder: Path, engine: str, wanted: Wanted) -> bool:
    """Tell whether an engine has a cell; one with a distance has its time too."""
    side, key = folder / engine, (wanted.timesteps, wanted.eta)
    if (side / cell_file(*key)).exists():
        return True
    return not wanted.distance and (side / time_file(*key)).exists()


def is_complete(grid: Grid, folder: Path) -> bool:
    """Tell whether nothing is left to do."""
    return all(
        is_done(folder, engine, wanted) for wanted in grid.cells() for engine in grid.engines
    )


def work(plan: Plan, grid: Grid, folder: Path) -> tuple[int, int]:
    """Return how many images x network calls the grid has, and how many of them are done."""
    total = done = 0
    for wanted in grid.cells():
        amount = _calls(plan, wanted) * (plan.images if wanted.distance else plan.batch_size)
        for engine in grid.engines:
            total += amount
            done += amount * is_done(folder, engine, wanted)
    return total, done


def _calls(plan: Plan, wanted: Wanted) -> int:
    return len(plan.settings(wanted.timesteps, wanted.eta).sequence(plan.config))


def _check_device(folder: Path, device: str) -> None:
    """Refuse to mix devices: `auto` may find another one than when the sweep began."""
    for path in sorted(folder.glob("*/cell_*.json")) + sorted(folder.glob("*/time_*.json")):
        before = Cell.model_validate_json(path.read_bytes()).device
        if before != device:
            raise UserError(
                f"{folder}: its cells were computed on {before}, now it would be {device}; "
                "choose another --out"
            )


def _do(contender: Contender, plan: Plan, grid: Grid, wanted: Wanted, advance: Advance) -> None:
    keep = wanted.distance and len(grid.engines) == 2
    sizes = contender.call("begin", **wanted._asdict(), keep_features=keep)
    for size in sizes or ():
        contender.call("batch")
        if contender.alive:
            name = f"{contender.name} S={wanted.timesteps} eta={wanted.eta}"
            advance(size * _calls(plan, wanted), name)
    contender.call("finish")


def _pair(folder: Path, engines: Sequence[str], wanted: Wanted) -> None:
    """Compare two cells of the same noise, once both are there, and delete their features."""
    key = wanted.timesteps, wanted.eta
    target = folder / pair_file(*key)
    kept = [folder / engine / features_file(*key) for engine in engines]
    cells = [folder / engine / cell_file(*key) for engine in engines]
    if not all(path.exists() for path in cells):
        return
    if not target.exists():
        reference = load_reference(folder)
        if reference is None or not all(path.exists() for path in kept):
            _log.info(
                "S=%d eta=%s: an engine has done this cell alone, so there is no paired "
                "difference; to have it, delete %s and go on",
                *key,
                " and ".join(map(str, cells)),
            )
            return
        _log.info("S=%d eta=%s: paired difference", *key)
        first, second = (np.load(path, allow_pickle=False) for path in kept)
        found = paired_difference(first, second, reference.moments)
        pair = Pair(
            timesteps=wanted.timesteps,
            eta=wanted.eta,
            difference=found.difference,
            standard_error=found.standard_error,
        )
        write_atomic(target, pair.model_dump_json(indent=1).encode())
    for path in kept:
        path.unlink(missing_ok=True)
