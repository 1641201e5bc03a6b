"""An engine's process, seen from outside: start it, give it tasks, survive its death.

Not multiprocessing: there, a process whose parent was killed would wait for ever.
"""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from jittor_ddim.errors import UserError
from jittor_ddim.parity.layout import OUTPUT

_LAST_LINES = 3  # of what it printed, in a message about its death
_LOOK_SECONDS = 0.5  # between looks at whether a process that says nothing is alive
_END_SECONDS = 20.0  # in which it must end by itself


def own_environment() -> dict[str, str]:
    """Return this process's environment, in which a process finds the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


class WorkerFailed(Exception):
    """The process ended or a task failed; what it had finished is on disk."""


class Worker(AbstractContextManager):
    """A process that serves one engine."""

    def __init__(
        self,
        engine: str,
        folder: Path,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        limit: float = math.inf,
    ) -> None:
        """Start it; :meth:`wait_until_ready` returns when its engine is there.

        :param folder: the engine's own
        :param command: the whole line; its program serves as in :mod:`jittor_ddim.parity.serve`
        :param environment: None: this process's, with its modules
        :param limit: the seconds in which a task must end
        """
        self.engine, self._limit = engine, limit
        self.frameworks: list[str] = []
        self._log = folder / OUTPUT
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment or own_environment(),
                start_new_session=True,  # the parent handles a Ctrl-C in the terminal
            )

    def wait_until_ready(self) -> tuple[dict[str, Any], float]:
        """Return the session's environment, and the seconds from the start of the process.

        :raises WorkerFailed: if it does not start
        :raises UserError: if what was asked for is not available here
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

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """End the process and all that it has started, at once if something went wrong."""
        try:
            for stream in (self._process.stdin, self._process.stdout):
                assert stream
                with suppress(OSError):  # a task that a dead process never took
                    stream.close()
            if error is None:
                self._wait_for_end(_END_SECONDS)  # its input has ended, and so does it
        finally:
            self._end_group()
            self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout
        # Waiting for the end of its output is not enough: forked children may hold that open.
        end = time.monotonic() + self._limit
        while not select.select([self._process.stdout], [], [], _LOOK_SECONDS)[0]:
            if self._has_ended():
                self._end_group()
            elif time.monotonic() > end:
                self._end_group()
                raise WorkerFailed(f"no answer in {self._limit:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(self._describe_death())
        try:
            answer = json.loads(line)
            if "error" not in answer:
                self.frameworks = answer["frameworks"]
                return answer["result"]
        except (ValueError, TypeError, KeyError):
            raise WorkerFailed(f"it answered {line.strip()[:100]!r}, not a result") from None
        raise (UserError if answer.get("user") else WorkerFailed)(answer["error"])

    def _has_ended(self) -> bool:
        """Whether it is dead; it stays a zombie, so that its number is not reused."""
        if self._process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _wait_for_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.02)

    def _end_group(self) -> None:
        """Kill whatever is left of it and its children."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _describe_death(self) -> str:
        self._wait_for_end(_END_SECONDS)  # its output has ended, and it is about to
        self._end_group()
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = " / ".join(line.strip() for line in lines[-_LAST_LINES:] if line.strip())
        return f"its process ended ({how}){': ' if last else ''}{last[-300:]}"
