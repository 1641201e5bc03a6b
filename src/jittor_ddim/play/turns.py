"""Who computes when: one engine, many pages.

A page has one job at a time at an engine; its next one takes the place of the last. Jobs take
turns of a second, so that a long one keeps nobody waiting; between two steps a job can end.

An engine holds the states of all jobs that have begun, so those of many pixels begin as far as
there is room. The others always begin: of them there are no more than pages under way.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from jittor_ddim.errors import UserError
from jittor_ddim.parity.process import Worker, WorkerFailed
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.layout import MOST_PIXELS
from jittor_ddim.play.networks import Opened

#: Of a state: a job of no more always begins. All requests under way have as much together as the
#: largest ones that begin at once.
_FEW_PIXELS = MOST_PIXELS // 8
_MOST_PIXELS_BEGUN = 8 * MOST_PIXELS
_TURN_SECONDS = 1.0
_log = logging.getLogger(__name__)

#: Called with each event of a job, in the order in which they happen.
Deliver = Callable[[dict[str, Any]], None]


class Job:
    """What one page wants, and where its events go: the last one is done, error or cancelled."""

    def __init__(self, client: str, network: Opened, ask: Ask, deliver: Deliver) -> None:
        """:param client: a page, by the name that it gave itself"""
        self.client, self.network, self.ask, self.deliver = client, network, ask, deliver
        self.name = f"{id(self):x}"
        self.begun = self.over = False
        self.pixels = ask.count * network.config.data.image_size**2

    @property
    def small(self) -> bool:
        """Whether it takes so little memory that it never waits for others to end."""
        return self.pixels <= _FEW_PIXELS

    def end(self, **event: Any) -> None:
        """Deliver the last event, once."""
        if not self.over:
            self.over = True
            self.deliver(event)


class _Stopped(Exception):
    """The server ends; raised inside ``with Worker``, which then ends the process at once."""


class Turns:
    """The jobs of one engine, and the thread that runs its process."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        """:param start: starts the engine's process, which happens with the first job"""
        self._start, self._stopped = start, False
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let a job take its turns; another one of the same page ends.

        :raises UserError: if the server is about to end
        """
        with self._changed:
            for other in self._jobs:
                if other.client == job.client:
                    other.end(cancelled=True)
            waiting = [other for other in self._jobs if not other.over]
            if self._stopped:
                raise UserError("the server is about to end")
            job.deliver({"waiting": len(waiting)})
            self._jobs.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """End a job before its next step."""
        with self._changed:
            job.end(cancelled=True)
            self._changed.notify()

    def stop(self) -> None:
        """End all jobs, and let the engine's process end."""
        with self._changed:
            self._stopped = True
            for job in self._jobs:
                job.end(cancelled=True)
            self._changed.notify()

    def close(self) -> None:
        """Stop, and wait until the process has ended."""
        self.stop()
        self._thread.join(5)  # it may be starting, which cannot be interrupted

    def _run(self) -> None:
        while self._wait():
            try:
                with self._start() as worker:
                    self._announce()
                    worker.wait_until_ready()
                    while True:
                        if not self._wait():
                            raise _Stopped
                        self._take_turn(worker)
            except (WorkerFailed, UserError) as error:
                _log.warning("%s", error)
                self._fail(str(error))
            except _Stopped:
                return

    def _wait(self) -> bool:
        """Wait for a job; return False once the server ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopped)
            return not self._stopped

    def _announce(self) -> None:
        with self._changed:
            for job in self._jobs:
                job.deliver({"starting": True})

    def _fail(self, message: str) -> None:
        """End all jobs: what their walks had reached went with the process."""
        with self._changed:
            for job in self._jobs:
                job.end(error=message)
            self._jobs.clear()

    def _next(self) -> Job | None:
        """Return whose turn it is: the first that is begun or may begin."""
        with self._changed:
            taken = sum(job.pixels for job in self._jobs if job.begun and not job.small)
            one_waits = False  # and has no room: those behind it that are not small wait too
            for job in self._jobs:
                fits = taken == 0 or taken + job.pixels <= _MOST_PIXELS_BEGUN
                if job.begun or job.over or job.small or (fits and not one_waits):
                    return job
                one_waits = True
        return None

    def _take_turn(self, worker: Worker) -> None:
        job = self._next()
        assert job
        if not job.begun and not job.over:
            ask = job.ask.model_dump(by_alias=True)
            worker.call("begin", walk=job.name, file=job.network.file, ask=ask)
            job.begun = True
        until = time.monotonic() + _TURN_SECONDS
        while not job.over and not self._stopped:
            event = worker.call("advance", walk=job.name)
            if event is None:
                job.end(done=True)
            elif "error" in event:
                job.end(**event)
            elif not job.over:
                job.deliver(event)
            if len(self._jobs) > 1 and time.monotonic() > until:
                break
        with self._changed:
            self._jobs.remove(job)
            if not job.over:
                self._jobs.append(job)
        if job.over and job.begun:
            worker.call("drop", walk=job.name)
