"""One command in several processes on this machine, each with a share of its cores."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from jittor_ddim.errors import UserError
from jittor_ddim.ranks import WORKERS, Rank, environment, this_rank

_LOOK_S = 0.05
_END_S = 10.0  # in which a worker that was told to end must do so
_THREADS = "OMP_NUM_THREADS"


def hire(count: int) -> int | None:
    """Run this process's own command line in so many workers; None if this is one, or alone.

    The first worker prints, checks and writes for all. When one fails the others are ended, and so
    are all when this process ends, whatever ends it.

    :returns: the exit code of the worker that failed first, or 0
    :raises UserError: if there are fewer than one, or a launcher has started this process
    """
    if count < 1:
        raise UserError(f"`workers` {count}: must be at least 1")
    started = this_rank()
    if started.launcher == WORKERS:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        return None
    if count == 1:
        return None
    if started.launcher:
        raise UserError(
            f"`workers` {count}: {started.launcher} has started {started.size} processes "
            "already; leave it out, and the images are shared out among them"
        )
    cores = len(os.sched_getaffinity(0))
    threads = {_THREADS: os.environ.get(_THREADS, str(max(1, cores // count)))}
    workers: list[subprocess.Popen[bytes]] = []
    of = secrets.token_hex(8)  # in a container every program may have the same number
    try:
        for index in range(count):
            told = {
                **os.environ,
                **threads,
                **environment(Rank(index, count, index, local_size=count), of),
            }
            workers.append(
                subprocess.Popen(
                    [sys.executable, *sys.orig_argv[1:]],
                    stdin=subprocess.PIPE,  # its end tells a worker that this process has ended
                    env=told,
                    start_new_session=True,  # Ctrl-C reaches this process, which ends them
                )
            )
        return _wait(workers)
    finally:
        _end(workers)


def _wait(workers: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [worker.poll() for worker in workers]
        for index, code in enumerate(codes):
            if code:
                if code < 0:
                    name = signal.Signals(-code).name
                    print(
                        f"error: rank {index} was ended by {name}; repeat the command",
                        file=sys.stderr,
                    )
                return code if code > 0 else 1
        if None not in codes:
            return 0
        time.sleep(_LOOK_S)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    """End those that still run, with all that they have started."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    end = time.monotonic() + _END_S
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(max(0.0, end - time.monotonic()))
        if worker.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        if worker.stdin:
            with suppress(OSError):
                worker.stdin.close()


def _end_with_parent() -> None:
    """End this worker when the process that started it has ended."""
    # Not sys.stdin: its lock would still be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END_S)  # a long call into a library does not see the signal
    os.killpg(0, signal.SIGKILL)
