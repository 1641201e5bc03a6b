"""The process of ``ddim sweep`` with the engine of fake_engine.py, which may come to harm.

    sweep_worker_with_fake_engine.py RECORD TASK HARM FOLDER EXP WEIGHTS ENGINE

adds "ENGINE TASK" to the file RECORD for each task, and before ENGINE's TASK (a JSON list of both,
and of how many times it was given before) does HARM, a statement. The networks of
all but the first engine have a small offset, so that they differ.
"""

import json
import os  # noqa: F401 (for the statement)
import signal  # noqa: F401
import sys
from pathlib import Path

from fake_engine import FakeEngine, affine

from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.sweep import session

record, harmed, harm = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
name = sys.argv[-1]
del sys.argv[1:4]
seen: dict[str, int] = {}
OFFSET = {"jittor": 0.0, "pytorch": 2e-3, "third": 4e-3}[name]


class Session(session.Session):
    def __getattribute__(self, task):
        if task in ("begin", "batch", "finish"):
            with record.open("a") as file:
                file.write(f"{name} {task}\n")
            seen[task] = seen.get(task, -1) + 1
            if [name, task, seen[task]] == harmed:
                exec(harm)
        return super().__getattribute__(task)


if [name, "start", 0] == harmed:
    exec(harm)
engine_choice.load_engine = lambda *choice: FakeEngine(
    name=choice[0], denoiser=lambda weights, x_t, t: affine(weights, x_t, t) + OFFSET
)
session.Session = Session
session.main()
