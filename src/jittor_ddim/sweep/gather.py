"""From the files of a sweep's folder to one table, whatever is there of it."""

import json
from datetime import datetime
from pathlib import Path

from jittor_ddim.engines import ENGINES
from jittor_ddim.parity.layout import FAILURE
from jittor_ddim.sweep.plan import Grid, Plan
from jittor_ddim.sweep.reference import load_reference
from jittor_ddim.sweep.results import Cell, Pair, Sweep, sort_key


def gather(plan: Plan, grid: Grid, folder: Path, title: str, command: str) -> Sweep:
    """Read what is done, of this command and of earlier ones.

    :param grid: of this command, whose engines may have failed
    :param title: of the network, for people
    :param command: what was typed, for the reader
    """
    engines = [name for name in ENGINES if (folder / name).is_dir()]
    cells = [cell for name in engines for cell in _cells(folder / name)]
    cells.sort(key=lambda cell: sort_key((cell.timesteps, cell.eta)))
    pairs = [Pair.model_validate_json(p.read_bytes()) for p in folder.glob("pair_*.json")]
    pairs.sort(key=lambda pair: sort_key((pair.timesteps, pair.eta)))
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
        extractor=identity.as_dict() if identity else {},
        engines=engines,
        cells=cells,
        pairs=pairs,
        failures={name: failure for name in grid.engines if (failure := _failure(folder / name))},
    )


def _cells(side: Path) -> list[Cell]:
    """A side's cells; one with a distance makes the one without superfluous."""
    found = {}
    for kind in ("time", "cell"):
        for path in side.glob(f"{kind}_*.json"):
            cell = Cell.model_validate_json(path.read_bytes())
            found[cell.timesteps, cell.eta] = cell
    return list(found.values())


def _failure(side: Path) -> str | None:
    path = side / FAILURE
    if not path.exists():
        return None
    failure = json.loads(path.read_text(encoding="utf-8"))
    return f"{failure['task']}: {failure['error']}"
