"""An engine's process, seen from inside: one line in per task, one line out per answer.

A task is a JSON object with the name of a session's method and its arguments. What the frameworks
print goes to standard error, so that nothing mixes with the answers.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from jittor_ddim.engines import ENGINES, describe_engine
from jittor_ddim.errors import UserError
from jittor_ddim.locks import try_lock
from jittor_ddim.parity.layout import LOCK


def serve(folder: Path, start: Callable[[], Any]) -> None:
    """Serve on the standard streams, hidden from the frameworks, until the input ends.

    :param folder: the engine's own
    :param start: starts the engine and returns what lives from one task to the next; its method
        ``environment`` returns what the numbers depend on, every other method is a task
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        with (folder / LOCK).open("a") as lock:
            _hold(lock, folder)
            session = start()
            answer(result=session.environment(), frameworks=loaded_frameworks())
            for line in sys.stdin:
                task = json.loads(line)
                result = getattr(session, task.pop("task"))(**task)
                answer(result=result, frameworks=loaded_frameworks())
    except UserError as error:
        answer(error=str(error), user=True)
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _hold(lock: TextIO, folder: Path) -> None:
    """Keep other processes out: one whose parent was killed still finishes its last task."""
    # Not filelock, which uses flock: a compiler's forked worker would inherit that.
    if not try_lock(lock):
        raise UserError(f"{folder}: another process is working here; try again once it has ended")


def loaded_frameworks() -> list[str]:
    """Return which engines' frameworks this process has loaded."""
    return sorted({describe_engine(name).module for name in ENGINES} & set(sys.modules))
