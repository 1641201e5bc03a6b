"""An entrant's process, ready to work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.entrants import Entrant
from jittor_ddim.parity.process import Worker


@contextmanager
def process(
    entrant: Entrant, folder: Path, device: str = "cpu"
) -> Iterator[tuple[Worker, dict[str, Any]]]:
    """Yield the process, which takes the tasks of :mod:`benchmarks.worker`, and its environment.

    :param folder: gets a folder of the entrant's with what it prints
    :raises WorkerFailed: if it does not start
    :raises UserError: if what it needs is not to be had here
    """
    place = folder / entrant.file_name
    command = [sys.executable, "-m", "benchmarks.worker", str(place), entrant.name, device]
    with Worker(entrant.name, place, command) as worker:
        environment, _ = worker.wait_until_ready()
        yield worker, environment
