"""How the cost of sampling grows: with the batch, S, the image size and the threads.

Every point is a file of its own, so that a run that stopped goes on.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.entrants import CIFAR10, Entrant
from benchmarks.processes import process
from jittor_ddim.atomic import write_atomic
from jittor_ddim.errors import UserError
from jittor_ddim.parity.process import WorkerFailed

_ENGINES = ("pytorch", "jittor")
_BATCH, _SIZE = 16, 32
_REPEATS = 3

_log = logging.getLogger("jittor_ddim.bench")


class Point(NamedTuple):
    """One measurement."""

    axis: str  # what is varied: batch, S, image size or threads
    value: int
    batch: int = _BATCH
    calls: int = 1
    size: int = _SIZE
    threads: int | None = None  # None: all


def points() -> list[Point]:
    """Return what is measured."""
    threads = {1, (os.cpu_count() or 1) // 2 or 1, os.cpu_count() or 1}
    return [
        *(Point("batch", n, batch=n) for n in (1, 4, 16, 64, 256)),
        *(Point("S", n, calls=n) for n in (1, 2, 5, 10)),
        *(Point("image size", n, size=n) for n in (16, 32, 64)),
        *(Point("threads", n, threads=n) for n in sorted(threads)),
    ]


def measure_scaling(folder: Path) -> list[dict[str, Any]]:
    """Return each point's engine, axis, value, images, and seconds of its repeats."""
    for threads in sorted({p.threads for p in points()}, key=lambda n: n or 0):
        missing = [p for p in points() if p.threads == threads]
        for engine in _ENGINES:
            wanted = [p for p in missing if not _path(folder, engine, p).exists()]
            if wanted:
                _measure(folder, engine, wanted, threads)
    found = [_path(folder, engine, p) for p in points() for engine in _ENGINES]
    return [json.loads(path.read_text()) for path in found if path.exists()]


def _path(folder: Path, engine: str, point: Point) -> Path:
    return folder / f"{engine}-{point.axis.replace(' ', '-')}-{point.value}.json"


def _measure(folder: Path, engine: str, wanted: list[Point], threads: int | None) -> None:
    place = folder / "workers" / f"{threads or 'all'}-threads"
    try:
        with _limited(threads), process(Entrant(engine), place) as (worker, _):
            for point in wanted:
                _log.info("%s, %s %d", engine, point.axis, point.value)
                given = {
                    "batch": point.batch,
                    "calls": point.calls,
                    "config": f"{CIFAR10} data.image_size={point.size}",
                }
                worker.call("sample", repeats=1, **given)
                figures = worker.call("sample", repeats=_REPEATS, **given)
                content = {"engine": engine, "axis": point.axis, "value": point.value}
                content |= {"images": point.batch, "seconds": figures["seconds"]}
                write_atomic(_path(folder, engine, point), json.dumps(content).encode())
    except (WorkerFailed, UserError) as error:
        _log.error("%s: %s", engine, error)


@contextmanager
def _limited(threads: int | None) -> Iterator[None]:
    """Let processes that start meanwhile have so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if threads and before is None:
            del os.environ["OMP_NUM_THREADS"]
        elif threads:
            os.environ["OMP_NUM_THREADS"] = str(before)
