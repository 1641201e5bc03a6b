"""From the files of a sweep's folder to one table, as far as it is filled."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from jittor_ddim.engines import ENGINES
from jittor_ddim.parity.contender import read_failure
from jittor_ddim.sweep.layout import load_reference
from jittor_ddim.sweep.plan import Grid, Plan
from jittor_ddim.sweep.results import Cell, Pair, Sweep


def gather(plan: Plan, grid: Grid, folder: Path, title: str, command: str) -> Sweep:
    """Read what this command and earlier ones have done.

    :param grid: of this command, whose engines may have failed
    :param title: of the network, for people
    :param command: what was typed, for the reader
    """
    engines = [name for name in ENGINES if (folder / name).is_dir()]
    cells = [cell for name in engines for cell in _cells(folder / name)]
    cells.sort(key=lambda cell: cell.row.order)
    pairs = [pair for name in engines[1:] for pair in _pairs(folder / name)]
    if (second := ENGINES[1]) in engines[1:]:
        pairs += [pair.model_copy(update={"engine": second}) for pair in _pairs(folder)]
    pairs.sort(key=lambda pair: pair.row.order)
    reference = load_reference(folder)
    identity = reference.identity if reference else None
    return Sweep(
        title=title,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command,
        dataset=plan.config.data.dataset,
        network=plan.network,
        images=plan.images,
        seed=plan.seed,
        skip=plan.skip,
        batch_size=plan.batch_size,
        device=cells[0].device if cells else plan.device,
        precision=" and ".join(sorted({cell.precision for cell in cells})) or plan.precision,
        compiled=plan.compile,
        reference=(reference and reference.source) or plan.reference,
        reference_images=reference.moments.count if reference else None,
        remarks=list(reference.remarks) if reference else [],
        distance_name=identity.distance if identity else "FID",
        extractor=asdict(identity) if identity else {},
        engines=engines,
        cells=cells,
        pairs=pairs,
        failures={
            name: failure for name in grid.engines if (failure := read_failure(folder / name))
        },
    )


def _cells(side: Path) -> list[Cell]:
    """A side's cells; one with a distance replaces the one without."""
    paths = [path for kind in ("time", "cell") for path in side.glob(f"{kind}_*.json")]
    found = [Cell.model_validate_json(path.read_bytes()) for path in paths]
    return list({cell.row: cell for cell in found}.values())


def _pairs(folder: Path) -> list[Pair]:
    """The pairs in an engine's folder; older versions left theirs in the sweep's."""
    return [Pair.model_validate_json(path.read_bytes()) for path in folder.glob("pair_*.json")]
