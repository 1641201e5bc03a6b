"""An engine's process, seen from outside: start it, give it tasks, outlive its death."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from jittor_ddim.errors import UserError

_LAST_LINES = 3  # of what it printed, in a message about its death


class WorkerFailed(Exception):
    """The process ended or a task failed; what it had finished is on the disk."""


class Worker:
    """A process that serves one engine."""

    def __init__(self, engine: str, folder: Path, exp: Path) -> None:
        """Start it; :meth:`wait_until_ready` returns when its engine is there.

        :param folder: the comparison's; the process's own is named after the engine
        """
        self.engine = engine
        self.frameworks: list[str] = []
        self._log = folder / engine / "stderr.txt"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jittor_ddim.compare.worker", engine, folder, exp],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to answer
            )

    def wait_until_ready(self) -> tuple[dict[str, Any], float]:
        """Return the session's environment, and the seconds from the start of the process.

        :raises WorkerFailed: if it does not start
        :raises UserError: if what was asked for is not to be had here
        """
        return self._read(), time.monotonic() - self._started

    def call(self, task: str, **arguments: Any) -> Any:
        """Let it do a task and return what the task returns.

        :raises WorkerFailed: if the task fails or the process dies
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it is dead; reading says how
        return self._read()

    def __enter__(self) -> "Worker":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, at once if something went wrong."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        if error is None:
            try:
                self._process.wait(20)  # its input has ended, and so does it
                return
            except subprocess.TimeoutExpired:
                pass
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(self._describe_death())
        answer = json.loads(line)
        if "error" in answer:
            raise (UserError if answer.get("user") else WorkerFailed)(answer["error"])
        self.frameworks = answer["frameworks"]
        return answer["result"]

    def _describe_death(self) -> str:
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = " / ".join(line.strip() for line in lines[-_LAST_LINES:] if line.strip())
        return f"its process ended ({how}){': ' if last else ''}{last[-300:]}"
