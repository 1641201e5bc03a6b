"""How far a job has come: a bar on a terminal, a line now and then in a log file."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from time import monotonic
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jittor_ddim.console.logs import CONSOLE

#: Seconds between two lines where there is no terminal.
LINE_INTERVAL = 30.0
_MB = 10**6
_LOGGER = logging.getLogger(__name__)


class Counter(Protocol):
    """What :func:`progress` yields."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Report that ``n`` more are done, with values to show beside (``loss=0.03``)."""
        ...


@contextmanager
def progress(total: int, description: str, start: int = 0) -> Iterator[Counter]:
    """Show the progress of a job on stderr, with rate and remaining time.

    :param total: how many there are in all
    :param start: how many a resumed job had done before; they do not count for the rate
    """
    if not _on_terminal():
        yield _Lines(total, description, start)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False),
    )
    with Progress(*columns, console=CONSOLE, refresh_per_second=4) as bars:
        yield _Bar(bars, total, description, start)


def decoding(name: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Yield a callback (images done, images in all) that shows how far decoding is.

    Nothing is shown before its first call: images that are cached are not decoded.
    """
    return _on_first_call(f"Decoding {name}")


def downloading(name: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Yield a callback (bytes there, bytes in all) that shows how far a download is.

    Nothing is shown before its first call; what that says was there before does not count for
    the rate.
    """
    return _on_first_call(f"Downloading {name} (MB)", _MB)


@contextmanager
def _on_first_call(description: str, unit: int = 1) -> Iterator[Callable[[int, int], None]]:
    with ExitStack() as stack:
        counter: Counter | None = None
        before = 0

        def show(done: int, total: int) -> None:
            nonlocal counter, before
            done //= unit
            if counter is None:
                counter = stack.enter_context(progress(-(-total // unit), description, done))
                before = done
            counter.advance(done - before)
            before = done

        yield show


def _on_terminal() -> bool:
    # is_terminal is not enough: with FORCE_COLOR rich takes a log file for a terminal.
    return CONSOLE.is_terminal and not CONSOLE.is_dumb_terminal and sys.stderr.isatty()


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed) if task.speed else "")


class _Bar:
    def __init__(self, bars: Progress, total: int, description: str, start: int) -> None:
        self._bars = bars
        self._task = bars.add_task(description, total=total, completed=start, shown="")

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self._bars.update(self._task, advance=n, shown=_show(fields))


class _Lines:
    def __init__(self, total: int, description: str, start: int) -> None:
        self._total, self._description = total, description
        self._done = self._done_before = start
        self._last_line = monotonic()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self._done += n
        seconds = monotonic() - self._last_line
        if seconds < LINE_INTERVAL:
            return
        # Since the last line, not the beginning: a first step may take minutes to compile.
        rate = (self._done - self._done_before) / seconds
        self._last_line += seconds
        self._done_before = self._done
        parts = [f"{self._description}: {self._done}/{self._total}"]
        if rate > 0:  # a download that starts over falls back
            left = timedelta(seconds=round((self._total - self._done) / rate))
            parts += [_rate(rate), f"ETA {left}"]
        if fields:
            parts.append(_show(fields))
        _LOGGER.info("%s", ", ".join(parts))


def _rate(per_second: float) -> str:
    return f"{per_second:.3g}/s" if per_second >= 1 else f"{1 / per_second:.3g} s each"


def _show(fields: dict[str, float | str]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    )
