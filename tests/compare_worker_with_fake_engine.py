"""The worker of ``ddim compare`` with the engine of fake_engine.py, which may come to harm.

    compare_worker_with_fake_engine.py RECORD TASK HARM ENGINE FOLDER EXP

adds "ENGINE TASK" to the file RECORD for each task, and before ENGINE's TASK (a JSON list of both,
and of how many times it was given before) does HARM, a statement.
"""

import json
import os
import signal  # noqa: F401 (for the statement)
import sys
import time  # noqa: F401
from pathlib import Path

from fake_engine import FakeEngine
from own_sampler import calls_of_heun, heun

from jittor_ddim import samplers
from jittor_ddim.compare import session

record, harmed, harm = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
name = sys.argv[4]
del sys.argv[1:4]
seen: dict[str, int] = {}


class Session(session.Session):
    def __getattribute__(self, task):
        if task in ("weights", "inspect", "steps_done", "train", "rounding", "phases", "sample",
                    "cost", "close"):  # fmt: skip
            with record.open("a") as file:
                file.write(f"{name} {task}\n")
            seen[task] = seen.get(task, -1) + 1
            if [name, task, seen[task]] == harmed:
                exec(harm)
        return super().__getattribute__(task)


if [name, "start", 0] == harmed:
    exec(harm)
session.load_engine = lambda *choice: FakeEngine(name=choice[0])
session.Session = Session
samplers.register("heun2", heun, calls_of_heun)
assert os.getpid() == os.getpgid(0)
session.main()
