"""What a comparison does, fixed before it starts: a resumed one must have the same plan."""

import json
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints.strict import flat
from jittor_ddim.compare.layout import BEGINNING, PLAN
from jittor_ddim.config import Config
from jittor_ddim.errors import UserError

#: Steps that one engine takes before it is the other's turn.
BLOCK = 10


class Plan(BaseModel):
    """What both engines do, one after the other in turns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str  # the config's name
    config: Config  # without dropout, with the batch size of the training
    data: str  # the data set, for people
    seed: int
    steps: int
    timesteps: int  # S of the sampled images
    images: int  # how many of them
    batch_sizes: tuple[int, ...]  # at which calls are timed, ascending
    weights: str  # where both start from: "fresh", or a fingerprint of the given ones
    engines: tuple[str, str] = ("jittor", "pytorch")
    device: str  # as asked for: auto, cpu or cuda
    precision: str

    @property
    def batch_size(self) -> int:
        """Of the training."""
        return self.config.training.batch_size

    @property
    def warmup(self) -> int:
        """Leading steps that no figure counts: the first ones compile and fill caches."""
        return min(3, self.steps // 2)

    def blocks(self) -> list[tuple[int, int]]:
        """Return the first and last step of every turn."""
        starts = range(1, self.steps + 1, BLOCK)
        return [(start, min(start + BLOCK - 1, self.steps)) for start in starts]


def without_dropout(config: Config, batch_size: int) -> Config:
    """Return the config of an alignment run: the engines' dropout masks differ, so none."""
    model = config.model.model_copy(update={"dropout": 0.0})
    training = config.training.model_copy(update={"batch_size": batch_size, "accumulate_steps": 1})
    return config.model_copy(update={"model": model, "training": training})


def check_place(folder: Path) -> None:
    """Refuse a folder that is not one, or holds something else than a comparison.

    :raises UserError: naming it
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another --out")
    if not folder.exists() or (folder / PLAN).is_file():
        return
    if any(not _is_leftover(name) for name in folder.iterdir()):
        raise UserError(f"{folder}: is not empty and holds no comparison; choose another --out")


def claim(folder: Path, plan: Plan) -> bool:
    """Store the plan in a comparison's folder, or find it there; return whether it was there.

    A comparison that was begun, but has measured nothing, gives way to another.

    :raises UserError: if the folder holds something else, naming the difference
    """
    path = folder / PLAN
    if path.is_file():
        stored = _read(path)
        if stored == plan:
            return True
        different = _differences(stored, plan) if stored else f"{PLAN} of another version"
        if stored is None or _has_results(folder):
            raise UserError(
                f"{folder}: holds another comparison ({different}); choose another --out, or "
                "delete it"
            )
        shutil.rmtree(folder)
    check_place(folder)
    write_atomic(path, plan.model_dump_json(indent=1).encode())
    return False


def _read(path: Path) -> Plan | None:
    try:
        return Plan.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        return None


def _has_results(folder: Path) -> bool:
    """Whether there is anything but the preparations."""
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    return not all(file.name in BEGINNING or _is_leftover(file) for file in files)


def _is_leftover(path: Path) -> bool:
    """Whether it is an unfinished file of a process that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _differences(stored: Plan, plan: Plan) -> str:
    theirs, ours = (p.model_dump(exclude={"config"}) | flat(p.config) for p in (stored, plan))
    return ", ".join(
        f"{key} {theirs[key]} instead of {value}"
        for key, value in ours.items()
        if theirs[key] != value
    )
