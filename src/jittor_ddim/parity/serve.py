"""An engine's process, seen from inside: one task a line in, one answer a line out.

A task is a JSON object with the name of a session's method and its arguments. What the frameworks
print goes to standard error, so that nothing mixes with the answers.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

from jittor_ddim.errors import UserError
from jittor_ddim.locks import try_lock
from jittor_ddim.parity.layout import LOCK


class Session(Protocol):
    """What lives from one task to the next; every other method is a task."""

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        ...


def serve(folder: Path, start: Callable[[], Session]) -> None:
    """Serve on the standard streams, which the frameworks lose, until the input ends.

    :param folder: the engine's own
    :param start: starts the engine
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(folder, start, sys.stdin, answers)


def _serve(folder: Path, start: Callable[[], Session], tasks: TextIO, answers: TextIO) -> None:
    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        with (folder / LOCK).open("a") as lock:
            _hold(lock, folder)
            session = start()
            answer({"result": session.environment(), "frameworks": loaded_frameworks()})
            for line in tasks:
                task = json.loads(line)
                result = getattr(session, task.pop("task"))(**task)
                answer({"result": result, "frameworks": loaded_frameworks()})
    except UserError as error:
        answer({"error": str(error), "user": True})
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def _hold(lock: TextIO, folder: Path) -> None:
    """Keep other processes out: one whose parent was killed still finishes its last task."""
    if not try_lock(lock):
        raise UserError(f"{folder}: another process is at work here; try again once it has ended")


def loaded_frameworks() -> list[str]:
    """Return which of the two frameworks this process has loaded."""
    return sorted({"jittor", "torch"} & set(sys.modules))
