"""The race on a CPU: contenders in turns, each in a process of its own."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.processes import process
from jittor_ddim.errors import UserError
from jittor_ddim.workers.process import Worker, WorkerFailed

_log = logging.getLogger("jittor_ddim.bench")


def race(
    contenders: Sequence[Contender],
    folder: Path,
    turn: Callable[[Worker], dict[str, Any]],
    warm_up: Callable[[Worker], Any],
    rounds: int,
) -> dict[str, dict[str, Any]]:
    """Return for each contender its environment, seconds of every repeat, and peak memory.

    :param turn: what a contender does when it is its turn; returns its figures
    :param warm_up: what it does before, uncounted
    """
    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contender in contenders:
            name = contender.name
            _log.info("Starting and warming up %s", name)
            try:
                worker, environment = stack.enter_context(process(contender, folder))
                worker.call("release")
                warm_up(worker)
            except (WorkerFailed, UserError) as error:
                _log.error("%s is out: %s", name, error)
                results[name] = {"failure": str(error)}
                continue
            workers[name] = worker
            results[name] = {"environment": environment, "seconds": [], "loaded": 0}
        for index in range(rounds):
            _log.info("Round %d of %d", index + 1, rounds)
            for name, worker in workers.items():
                figures = turn(worker)
                results[name]["seconds"] += figures["seconds"]
                results[name]["loaded"] += figures["loaded"]
        for name, worker in workers.items():
            results[name] |= worker.call("peak_memory")
    return results
