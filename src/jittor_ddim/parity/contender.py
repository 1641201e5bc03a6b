"""One side of a race between engines: it may fail, and what it has finished stays."""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic
from jittor_ddim.console.flags import with_flags
from jittor_ddim.errors import UserError
from jittor_ddim.parity.layout import ENVIRONMENT, FAILURE
from jittor_ddim.parity.process import Worker, WorkerFailed

_log = logging.getLogger(__name__)


class Contender:
    """One side: its process, its folder, and whether it is still in the race."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        """:param folder: the side's own"""
        self._worker, self.folder = worker, folder
        self.name = worker.engine
        self.failure: str | None = None
        self.device: str | None = None  # once it has started

    @property
    def alive(self) -> bool:
        """Whether nothing has failed so far."""
        return self.failure is None

    def start(self, device: str | None = None) -> dict[str, Any]:
        """Wait for the engine and return its environment; without it the side is out of the race.

        :param device: the other sides', which must be the same
        :raises UserError: if it is another one, or the engine is not available here
        """
        try:
            result, seconds = self._worker.wait_until_ready()
        except WorkerFailed as error:
            self.fail("start", str(error))
            return {}
        self.device = result["device"]
        if device and self.device != device:
            raise UserError(
                f"{self.name} computes on {self.device} and the other engine on {device}; "
                f"set `device` to {'cpu' if 'cpu' in (device, self.device) else device}"
            )
        # Of several starts the first counts: a later one finds caches filled.
        self._note({"cold_start_s": seconds} | self.read(ENVIRONMENT) | result)
        return result

    def has(self, name: str) -> bool:
        """Whether a unit is done."""
        return (self.folder / name).exists()

    def read(self, name: str) -> dict[str, Any]:
        """Return a unit's numbers; nothing if it is not done."""
        return json.loads((self.folder / name).read_text("utf-8")) if self.has(name) else {}

    def write(self, name: str, content: Any) -> None:
        """Finish a unit with its numbers."""
        write_atomic(self.folder / name, json.dumps(content, indent=1).encode())

    def complete(self, name: str, what: str, task: str, **arguments: Any) -> None:
        """Finish a unit, if it is not done, by a task that returns its numbers or writes the file.

        :param what: it is, for the log
        """
        if self.alive and not self.has(name):
            _log.info("%s: %s", self.name, what)
            if result := self.call(task, **arguments):
                self.write(name, result)

    def call(self, task: str, **arguments: Any) -> Any:
        """Do a task; after a failure do nothing, ever, and return None."""
        if not self.alive:
            return None
        try:
            return self._worker.call(task, **arguments)
        except (WorkerFailed, UserError) as error:
            self.fail(task, str(error))
            return None

    def fail(self, task: str, error: str) -> None:
        """Take the side out of the race; what it has finished stays."""
        self.failure = error
        _log.error("%s failed in %s: %s", self.name, task, error)
        self.write(FAILURE, {"task": task, "error": with_flags(error)})  # reports show it

    def finish(self) -> None:
        """End the session, and note what the process had loaded at its end."""
        self.call("close")
        self._note(self.read(ENVIRONMENT))

    def _note(self, environment: dict[str, Any]) -> None:
        self.write(ENVIRONMENT, environment | {"frameworks": self._worker.frameworks})


def start_contenders(
    stack: ExitStack, engines: Sequence[str], folder: Path, command: Sequence[str], *more: str
) -> list[Contender]:
    """Start a process for each engine, one after the other; one that fails is out of the race.

    :param stack: ends the processes
    :param folder: gets a folder for each engine
    :param command: what starts a side's process; the engine's name and then ``more`` are added
    :raises UserError: if an engine is not available here, or they are on different devices
    """
    contenders: list[Contender] = []
    for name in engines:
        _log.info("Starting %s (the first time on a machine this takes minutes)", name)
        (folder / name / FAILURE).unlink(missing_ok=True)
        worker = stack.enter_context(Worker(name, folder / name, [*command, name, *more]))
        contenders.append(Contender(worker, folder / name))
        contenders[-1].start(next((c.device for c in contenders if c.device), None))
    return contenders


def read_failure(folder: Path) -> str | None:
    """Return the task in which a side failed, and how; None if it did not.

    :param folder: the side's own
    """
    path = folder / FAILURE
    if not path.exists():
        return None
    failure = json.loads(path.read_text(encoding="utf-8"))
    return f"{failure['task']}: {failure['error']}"
