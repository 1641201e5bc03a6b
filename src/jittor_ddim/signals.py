"""SIGINT, SIGTERM and SIGUSR1 in this process; its forked children keep the defaults."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SAME_SIGNAL_S = 1.0


class Terminated(BaseException):
    """SIGTERM; not an Exception, so that nothing on the way handles it as an error."""


def raise_on_sigterm() -> None:
    """Let SIGTERM end the process as Ctrl-C does: by an exception, so that everything closes."""
    signal.signal(signal.SIGTERM, _terminate)
    # A forked worker that waits for a semaphore would miss the exception and never end, and its
    # parent waits for it: Jittor's compile workers hung like that.
    os.register_at_fork(after_in_child=_forget)


@contextmanager
def collect_stop_signals() -> Iterator[list[int]]:
    """Yield a list that receives SIGINT, SIGTERM and SIGUSR1, for a loop that ends and saves.

    A scheduler sends SIGUSR1 where its script asks for a warning before the time is up.

    The same signal again, a second or more later, acts as it did before. Sooner it counts as one:
    ``timeout`` signals the process and then its group.
    """
    received: list[int] = []
    first: dict[int, float] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        now = time.monotonic()
        if now - first.setdefault(number, now) > _SAME_SIGNAL_S:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, receive)
    # Jittor takes a wait for another process's lock that a signal interrupts for an error. Ctrl-C
    # still interrupts: it must reach a wait that does not end.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.siginterrupt(number, False)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _forget() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
