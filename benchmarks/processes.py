"""A contender's process, ready to work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender
from jittor_ddim.workers.process import Worker


@contextmanager
def process(
    contender: Contender, folder: Path, device: str = "cpu"
) -> Iterator[tuple[Worker, dict[str, Any]]]:
    """Yield the process, which takes the tasks of :mod:`benchmarks.worker`, and its environment.

    :param folder: gets a folder of the contender's with what it prints
    :raises WorkerFailed: if it does not start
    :raises UserError: if what it needs is not to be had here
    """
    place = folder / contender.file_name
    command = [sys.executable, "-m", "benchmarks.worker", str(place), contender.name, device]
    with Worker(contender.name, place, command) as worker:
        environment, _ = worker.wait_until_ready()
        yield worker, environment
