"""The two sides: a process for each, started, asked and ended."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.errors import UserError
from jittor_ddim.parity.align.worker import start
from jittor_ddim.parity.process import Worker, WorkerFailed, own_environment

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SideFile:
    """What a user gives: a file, and the Python to run it."""

    path: Path
    python: str | None = None  # None: this one

    def check(self) -> None:
        """Refuse what is no file.

        :raises UserError: naming it
        """
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file; a side is a Python file")


class Side:
    """One side at work; every error names it and what it was doing."""

    def __init__(self, file: SideFile, name: str, work: Path, limit: float) -> None:
        """:param work: a folder of both sides; :param limit: seconds for a task"""
        self.name, self.path = name, file.path
        own = work / name
        own.mkdir(parents=True, exist_ok=True)
        places = [str(p.resolve()) for p in (file.path, work / "arrays", own)]
        if file.python is None:
            command = [sys.executable, "-m", "jittor_ddim.parity.align.worker.own", *places]
            environment = own_environment()
        else:
            command = [file.python, str(Path(start.__file__)), *places]
            foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
            environment = {k: v for k, v in os.environ.items() if k not in foreign}
        try:
            self.worker = Worker(name, own, command, environment, limit)
        except OSError as error:
            raise UserError(f"{file.python}: {error.strerror}; name a Python") from None
        self.environment: dict[str, str] = {}
        self.optional: list[str] = []

    def wait(self) -> None:
        """Wait until the side's file has run.

        :raises UserError: if it does not
        """
        try:
            answer, _ = self.worker.wait_until_ready()
        except (WorkerFailed, UserError) as error:
            raise UserError(self._line("import", error)) from None
        self.environment, self.optional = answer["environment"], answer["optional"]

    def call(self, task: str, **arguments: Any) -> Any:
        """Let the side do a task and return the answer.

        :raises UserError: if it raises, hangs, dies or returns something else
        """
        try:
            return self.worker.call(task, **arguments)
        except (WorkerFailed, UserError) as error:
            raise UserError(self._line(task, error)) from None

    def _line(self, task: str, error: Exception) -> str:
        text = str(error)
        if "SIGKILL" in text and "its process ended" in text:
            text = f"killed: it probably ran out of memory ({text})"
        return f"{self.path} ({self.name}) in {task}: {text}"


def start_sides(
    stack: ExitStack, files: tuple[SideFile, SideFile], work: Path, limit: float
) -> tuple[Side, Side]:
    """Start both, one after the other.

    :param stack: ends them
    :raises UserError: if one does not start, naming it
    """
    names = [file.path.stem for file in files]
    if names[0] == names[1]:
        names = [f"{names[0]}_a", f"{names[1]}_b"]
    sides = []
    for file, name in zip(files, names, strict=True):
        _log.info("Starting %s", name)
        side = Side(file, name, work, limit)
        stack.enter_context(side.worker)
        side.wait()
        sides.append(side)
    return sides[0], sides[1]
