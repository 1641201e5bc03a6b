"""The race on a CPU: entrants in turns, each in a process of its own."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.entrants import Entrant
from benchmarks.processes import process
from jittor_ddim.errors import UserError
from jittor_ddim.parity.process import Worker, WorkerFailed

_log = logging.getLogger("jittor_ddim.bench")


def race(
    entrants: Sequence[Entrant],
    folder: Path,
    task: str,
    given: dict[str, Any],
    *,
    repeats: int,
    warm_ups: int,
    rounds: int,
) -> dict[str, dict[str, Any]]:
    """Return for each entrant its environment, seconds of every repeat, and peak memory.

    :param task: of :class:`benchmarks.worker.Session`
    :param given: its arguments, all but ``repeats``
    :param repeats: in each turn
    :param warm_ups: uncounted repeats before
    """
    results: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}

    def take_turn(name: str, count: int) -> dict[str, Any]:
        """The figures; an entrant that fails is out."""
        try:
            return workers[name].call(task, repeats=count, **given)
        except (WorkerFailed, UserError) as error:
            _fail(name, error)
            return {}

    def _fail(name: str, error: Exception) -> None:
        _log.error("%s is out: %s", name, error)
        results[name] = {"failure": str(error)}
        workers.pop(name, None)

    with ExitStack() as stack:
        for entrant in entrants:
            name = entrant.name
            _log.info("Starting and warming up %s", name)
            try:
                workers[name], environment = stack.enter_context(process(entrant, folder))
                workers[name].call("release")
            except (WorkerFailed, UserError) as error:
                _fail(name, error)
                continue
            results[name] = {"environment": environment, "seconds": [], "loaded": 0}
            take_turn(name, warm_ups)
        for index in range(rounds):
            _log.info("Round %d of %d", index + 1, rounds)
            for name in list(workers):
                if figures := take_turn(name, repeats):
                    results[name]["seconds"] += figures["seconds"]
                    results[name]["loaded"] += figures["loaded"]
        for name, worker in workers.items():
            results[name] |= worker.call("peak_memory")
    return results
