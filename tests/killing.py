"""Kills a process before each of its file-system operations in turn.

Python's audit events (open, rename, mkdir, …) mark the instants between which no name on the disk
changes. Only a process of one thread may fork, and pytest's is none: :func:`run_script`.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
_TESTS = Path(__file__).parent
#: What a process needs to find the tests' own modules, in whichever order they were collected.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS / "checkpoints"), *sys.path]),
    "OPENBLAS_NUM_THREADS": "1",
}


def finishes(action: Callable[[], object], instant: int) -> bool:
    """Run an action in a child that is killed at an instant; return whether it was done before."""
    child = os.fork()
    if child == 0:
        left = instant

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in _EVENTS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    return status == 0


def kill_once_saved() -> None:
    """Kill this process when the snapshot that it is writing is whole: a disk may be slow."""
    for thread in threading.enumerate():
        if thread.name == "snapshot":
            thread.join()
    os.kill(os.getpid(), signal.SIGKILL)


def run_script(path: str, *arguments: object) -> str:
    """Run a test's script in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, path, *map(str, arguments)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
