"""An entrant's process, ready to work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.entrants import Entrant
from jittor_ddim.parity.process import Worker


def start_process(entrant: Entrant, folder: Path, device: str = "cpu") -> Worker:
    """Start a process that takes the tasks of :mod:`benchmarks.worker`.

    :param folder: gets a folder of the entrant's with what it prints
    """
    place = folder / entrant.file_name
    command = [sys.executable, "-m", "benchmarks.worker", str(place), entrant.name, device]
    return Worker(entrant.name, place, command)


@contextmanager
def process(
    entrant: Entrant, folder: Path, device: str = "cpu"
) -> Iterator[tuple[Worker, dict[str, Any]]]:
    """Yield the process, ready to work, and its environment.

    :raises WorkerFailed: if it does not start
    :raises UserError: if what it needs is not available here
    """
    with start_process(entrant, folder, device) as worker:
        environment, _ = worker.wait_until_ready()
        yield worker, environment
