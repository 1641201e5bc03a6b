"""The process of one engine: ``python -m jittor_ddim.compare.worker ENGINE FOLDER EXP``.

It reads one task a line from its standard input, a JSON object with the name of a
:class:`~jittor_ddim.compare.session.Session`'s method and its arguments, and answers each with one
line. What the frameworks print goes to standard error, so that nothing mixes with the answers.
"""

import fcntl
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from jittor_ddim.compare.layout import LOCK, PLAN
from jittor_ddim.compare.plan import Plan
from jittor_ddim.compare.session import Session
from jittor_ddim.errors import UserError


def serve(engine: str, folder: Path, exp: Path, tasks: TextIO, answers: TextIO) -> None:
    """Start the engine, then do task after task until the input ends."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        with (folder / engine / LOCK).open("a") as lock:
            _hold(lock, folder)
            plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
            session = Session(engine, plan, folder, exp)
            answer({"result": session.environment(), "frameworks": session.frameworks()})
            for line in tasks:
                task = json.loads(line)
                result = getattr(session, task.pop("task"))(**task)
                answer({"result": result, "frameworks": session.frameworks()})
    except UserError as error:
        answer({"error": str(error), "user": True})
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def _hold(lock: TextIO, folder: Path) -> None:
    """Keep other processes out: one whose parent was killed still finishes its last task."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by forked children
    except (BlockingIOError, PermissionError):  # POSIX allows either
        raise UserError(
            f"{folder}: another process is at work on this comparison; try again once it has ended"
        ) from None


def main() -> None:
    """Serve on the standard streams."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    engine, folder, exp = sys.argv[1:]
    serve(engine, Path(folder), Path(exp), sys.stdin, answers)


if __name__ == "__main__":
    main()
