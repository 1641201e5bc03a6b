"""Fill a sweep's table: cell after cell, each engine in its own process, one at work at a time.

The engines take turns at every row, so that whatever else happens on the machine hits all of them.
A finished cell leaves a file: an interrupted sweep continues with the first that is missing, and
an engine that fails leaves the others' cells whole.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from jittor_ddim.atomic import write_atomic
from jittor_ddim.engines import ENGINES
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.frechet import paired_difference
from jittor_ddim.parity.contender import Contender, start_contenders
from jittor_ddim.parity.layout import FAILURE
from jittor_ddim.sweep.layout import NETWORK, file_name, load_reference
from jittor_ddim.sweep.plan import Grid, Plan, Wanted
from jittor_ddim.sweep.results import Cell, Pair, Row

#: (images x network calls done, of which engine and cell).
Advance = Callable[[int, str], None]

_log = logging.getLogger(__name__)


def fill(plan: Plan, grid: Grid, folder: Path, command: Sequence[str], advance: Advance) -> None:
    """Do every cell of the grid that is not done yet.

    :param folder: the sweep's, with the plan and the weights in it
    :param command: starts an engine's process; the engine's name is added
    :param advance: called after every batch
    :raises UserError: if an engine does not work here, or devices differ
    """
    for engine in grid.engines:
        (folder / engine / FAILURE).unlink(missing_ok=True)
    missing = [
        engine
        for engine in grid.engines
        if not all(is_done(folder, engine, wanted) for wanted in grid.cells())
    ]
    paired = len(grid.engines) > 1
    with ExitStack() as stack:
        contenders = start_contenders(stack, missing, folder, command)
        for device in {c.device for c in contenders if c.device}:
            _check_device(folder, device)
        for wanted in grid.cells():
            for contender in contenders:
                if not is_done(folder, contender.name, wanted):
                    _do(contender, plan, wanted, paired and wanted.distance, advance)
            if wanted.distance and paired:
                _pair(folder, grid.engines, wanted.row)
    total, done = work(plan, grid, folder)
    if done == total:
        (folder / NETWORK).unlink(missing_ok=True)  # the command finds it again if it must


def is_done(folder: Path, engine: str, wanted: Wanted) -> bool:
    """Tell whether an engine has a cell; one with a distance has its time too."""
    kinds = ("cell",) if wanted.distance else ("cell", "time")
    return any((folder / engine / file_name(kind, wanted.row)).exists() for kind in kinds)


def work(plan: Plan, grid: Grid, folder: Path) -> tuple[int, int]:
    """Return how many images x network calls the grid has, and how many of them are done."""
    total = done = 0
    for wanted in grid.cells():
        amount = plan.calls(wanted.row) * (plan.images if wanted.distance else plan.batch_size)
        total += amount * len(grid.engines)
        done += amount * sum(is_done(folder, engine, wanted) for engine in grid.engines)
    return total, done


def _check_device(folder: Path, device: str) -> None:
    """Refuse to mix devices: `auto` may find another one than when the sweep began."""
    for path in sorted(folder.glob("*/cell_*.json")) + sorted(folder.glob("*/time_*.json")):
        before = Cell.model_validate_json(path.read_bytes()).device
        if before != device:
            raise UserError(
                f"{folder}: its cells were computed on {before}, and now it would be {device}; "
                "choose another `out`"
            )


def _do(
    contender: Contender, plan: Plan, wanted: Wanted, keep_features: bool, advance: Advance
) -> None:
    row = wanted.row
    sizes = contender.call(
        "begin",
        timesteps=row.timesteps,
        eta=row.variant.stored,
        distance=wanted.distance,
        keep_features=keep_features,
    )
    for size in sizes or ():
        contender.call("batch")
        if contender.alive:
            advance(size * plan.calls(row), f"{contender.name} {row}")
    contender.call("finish")


def _pair(folder: Path, engines: Sequence[str], row: Row) -> None:
    """Compare the other engines' cells with the first's, and delete features that are not needed.

    Each comparison waits for both cells, the deletion for all.
    """
    cells = {engine: folder / engine / file_name("cell", row) for engine in engines}
    kept = {engine: folder / engine / file_name("features", row) for engine in engines}
    first, *others = engines
    others = [engine for engine in others if cells[engine].exists()]
    if not cells[first].exists():
        return
    for other in others:
        target = folder / other / file_name("pair", row)
        older = other == ENGINES[1] and (folder / target.name).exists()  # of older versions
        if target.exists() or older:
            continue
        reference = load_reference(folder)
        if reference is None or not (kept[first].exists() and kept[other].exists()):
            _log.info(
                "%s: %s and %s did not measure this cell in one run, so there is no paired "
                "difference; to get it, delete %s and repeat the command",
                row, first, other, " and ".join(map(str, cells.values())),
            )  # fmt: skip
            continue
        _log.info("%s: paired difference", row)
        first_features, features = (
            np.load(kept[engine], allow_pickle=False) for engine in (first, other)
        )
        difference, error = paired_difference(first_features, features, reference.moments)
        pair = Pair(
            timesteps=row.timesteps,
            eta=row.variant.stored,
            difference=difference,
            standard_error=error,
            engine=other,
        )
        write_atomic(target, pair.model_dump_json(indent=1).encode())
    if len(others) == len(engines) - 1:
        for path in kept.values():
            path.unlink(missing_ok=True)
