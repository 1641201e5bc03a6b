"""One side of a race between engines: it may fail, and what it has finished stays."""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic
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
        self.alive = True
        self.device: str | None = None  # once it has started

    def has(self, name: str) -> bool:
        """Whether a unit is done."""
        return (self.folder / name).exists()

    def write(self, name: str, content: Any) -> None:
        """Finish a unit with its numbers."""
        write_atomic(self.folder / name, json.dumps(content, indent=1).encode())

    def start(self, device: str | None) -> None:
        """Wait for the engine.

        :param device: the other's, which must be the same
        """
        result, seconds = self._worker.wait_until_ready()
        if device and result["device"] != device:
            raise UserError(
                f"{self.name} computes on {result['device']} and the other engine on {device}; "
                f"add --device {'cpu' if 'cpu' in (device, result['device']) else device}"
            )
        stored = self._stored_environment()
        first = stored.get("cold_start_s", seconds)  # a later start finds caches filled
        self.write(ENVIRONMENT, {**result, "cold_start_s": first, "frameworks": self.frameworks})
        self.device = result["device"]

    @property
    def frameworks(self) -> list[str]:
        """Which frameworks its process had loaded when it last answered."""
        return self._worker.frameworks

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
        """Take it out of the race; what it has finished stays."""
        self.alive = False
        _log.error("%s failed in %s: %s", self.name, task, error)
        self.write(FAILURE, {"task": task, "error": error})

    def finish(self) -> None:
        """Note what the process had loaded at its end."""
        self.call("close")
        self.write(ENVIRONMENT, {**self._stored_environment(), "frameworks": self.frameworks})

    def _stored_environment(self) -> dict[str, Any]:
        path = self.folder / ENVIRONMENT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def start_contenders(
    stack: ExitStack, engines: Sequence[str], folder: Path, command: Sequence[str], *more: str
) -> list[Contender]:
    """Start a process for each engine, one after the other; one that fails is out of the race.

    :param stack: ends the processes
    :param folder: gets a folder for each engine
    :param command: what starts a side's process; the engine's name and then ``more`` are added
    :raises UserError: if an engine is not to be had, or they are on different devices
    """
    contenders: list[Contender] = []
    for name in engines:
        _log.info("Starting %s (the first time on a machine this takes minutes)", name)
        (folder / name / FAILURE).unlink(missing_ok=True)
        worker = stack.enter_context(Worker(name, folder / name, [*command, name, *more]))
        contender = Contender(worker, folder / name)
        try:
            contender.start(next((c.device for c in contenders if c.device), None))
        except WorkerFailed as error:
            contender.fail("start", str(error))
        contenders.append(contender)
    return contenders
