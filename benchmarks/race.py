"""The race on a CPU: entrants in turns, each in a process of its own."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.entrants import Entrant
from benchmarks.processes import start_process
from jittor_ddim.errors import UserError
from jittor_ddim.parity.contender import Contender

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
    with ExitStack() as stack:
        racing: dict[str, Contender] = {}
        for entrant in entrants:
            _log.info("Starting and warming up %s", entrant.name)
            worker = stack.enter_context(start_process(entrant, folder))
            contender = Contender(worker, folder / entrant.file_name)
            environment = {}
            try:
                environment = contender.start()
            except UserError as error:  # it lacks what it needs here
                contender.fail("start", str(error))
            contender.call("release")
            contender.call(task, repeats=warm_ups, **given)
            racing[entrant.name] = contender
            results[entrant.name] = {"environment": environment, "seconds": [], "loaded": 0}
        for index in range(rounds):
            _log.info("Round %d of %d", index + 1, rounds)
            for name, contender in racing.items():
                if figures := contender.call(task, repeats=repeats, **given):
                    results[name]["seconds"] += figures["seconds"]
                    results[name]["loaded"] += figures["loaded"]
        for name, contender in racing.items():
            results[name] |= contender.call("peak_memory") or {}
            if contender.failure:
                results[name] = {"failure": contender.failure}
    return results
