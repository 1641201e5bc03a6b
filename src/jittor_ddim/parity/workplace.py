"""A folder for one plan: who may work in it, and errors about a folder with another plan."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.config import Config
from jittor_ddim.errors import UserError, differences
from jittor_ddim.parity.layout import PLAN


class FixedPlan(BaseModel):
    """What a job depends on, fixed before it starts: a resumed one must have the same plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config


AnyPlan = TypeVar("AnyPlan", bound=FixedPlan)


@dataclass(frozen=True)
class Workplace:
    """The rules for all folders of one kind."""

    kind: str  # for people: "comparison"
    beginning: frozenset[str]  # names of the files that are there before anything is done

    def check(self, folder: Path) -> None:
        """Refuse a path that is not a folder, or holds something other than a job of this kind.

        :raises UserError: naming it
        """
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file; choose another `out`")
        if not folder.exists() or (folder / PLAN).is_file():
            return
        if any(not _is_leftover(name) for name in folder.iterdir()):
            raise UserError(
                f"{folder}: is not empty and holds no {self.kind}; choose another `out`"
            )

    def claim(self, folder: Path, plan: FixedPlan) -> bool:
        """Store the plan in the folder, or find it there; return whether it was there.

        A job that was started, but has finished nothing, gives way to another.

        :raises UserError: if the folder holds something else, naming the difference
        """
        path = folder / PLAN
        if path.is_file():
            stored = _read(path, type(plan))
            if stored == plan:
                return True
            different = [f"{PLAN} of another version"]
            if stored:
                different = differences(_flat(stored), _flat(plan))
            if stored is None or self._has_results(folder):
                raise UserError(
                    f"{folder}: holds another {self.kind} ({', '.join(different)}); choose "
                    "another `out`, or delete it"
                )
            shutil.rmtree(folder)
        self.check(folder)
        write_atomic(path, plan.model_dump_json(indent=1).encode())
        return False

    @contextmanager
    def held(self, folder: Path) -> Iterator[None]:
        """Keep other commands out; the lock lies beside the folder, which may be replaced.

        :raises UserError: if another process is working in it
        """
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise UserError(
                f"{folder}: another process is working on this {self.kind}; try again once it "
                "has ended, or choose another `out`"
            ) from None

    def _has_results(self, folder: Path) -> bool:
        """Whether there is anything but the preparations."""
        files = [file for file in folder.rglob("*") if not file.is_dir()]
        return not all(file.name in self.beginning or _is_leftover(file) for file in files)


def _read(path: Path, kind: type[AnyPlan]) -> AnyPlan | None:
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        return None


def _is_leftover(path: Path) -> bool:
    """Whether it is an unfinished file of a process that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _flat(plan: FixedPlan) -> dict[str, Any]:
    return plan.model_dump(exclude={"config"}) | plan.config.flat()
