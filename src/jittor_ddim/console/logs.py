"""Log lines in the official format, on the console and in a run's stdout.txt.

A training line reads
``INFO - training.py - 2025-07-04 00:04:10,778 - [Epoch 0] Step: 1, Loss: 0.768200, …``.
"""

import logging
import warnings
from collections import deque
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from jittor_ddim.atomic import disk_errors
from jittor_ddim.console.flags import with_flags
from jittor_ddim.errors import UserError

#: The one console of the package: log lines printed on it move a progress bar down, not apart.
CONSOLE = Console(stderr=True)
LEVELS = ("debug", "info", "warning", "error", "critical")
_FORMAT = "%(levelname)s - %(filename)s - %(asctime)s - %(message)s"
_LOGGER = logging.getLogger("jittor_ddim")
#: Its lines replace a progress bar, which no level hides either.
_PROGRESS_LOGGER = "jittor_ddim.console.progress"
_python_showwarning = warnings.showwarning
#: Warnings that came before there was a file for them; only the newest, if there are many.
_early: deque[logging.LogRecord] = deque(maxlen=1000)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A Text and soft_wrap: rich adds neither markup nor line breaks.
            CONSOLE.print(Text(self.format(record)), soft_wrap=True)
        except Exception:
            self.handleError(record)


class _FileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Stay quiet: the console has the line, and a full disk stops the run elsewhere."""


def start_logging() -> None:
    """Set up the console for a new command, without the warnings of an earlier one."""
    _early.clear()
    setup_logging(None, "info")


def setup_logging(stdout_txt: Path | None, level: str) -> None:
    """Send the package's log lines and all Python warnings to stderr and, appended, to a file.

    Only the logger ``jittor_ddim`` is touched. A second call replaces the handlers of the first.
    A file also gets the warnings that came before it, under the time at which they came.

    :param stdout_txt: the run's log file, or None for the console alone
    :param level: of the console, one of :data:`LEVELS` in any case; the file has at least ``info``
    :raises UserError: for an unknown level
    """
    if level.lower() not in LEVELS:
        raise UserError(f"`verbose` {level}: unknown level, choose one of {', '.join(LEVELS)}")
    handlers: list[logging.Handler] = [_ConsoleHandler()]
    if stdout_txt is None:
        handlers.append(logging.Handler(logging.WARNING))
        handlers[1].emit = _early.append  # pyright: ignore[reportAttributeAccessIssue]
    else:
        with disk_errors(stdout_txt):
            stdout_txt.parent.mkdir(parents=True, exist_ok=True)
            # backslashreplace: a file name need not be text.
            handlers.append(_FileHandler(stdout_txt, encoding="utf-8", errors="backslashreplace"))
    for handler in _LOGGER.handlers[:]:
        _LOGGER.removeHandler(handler)
        handler.close()
    threshold = logging.getLevelName(level.upper())
    handlers[0].addFilter(
        lambda record: record.levelno >= threshold or record.name == _PROGRESS_LOGGER
    )
    for handler in handlers:
        handler.setFormatter(_Formatter(_FORMAT))
        _LOGGER.addHandler(handler)
    while stdout_txt is not None and _early:
        handlers[-1].handle(_early.popleft())
    _LOGGER.setLevel(min(threshold, logging.INFO))
    _LOGGER.propagate = False
    warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning as one line under the file that caused it (not captureWarnings' two)."""
    if file is not None:
        _python_showwarning(message, category, filename, lineno, file, line)
        return
    text = " ".join(str(message).split())
    if category is not UserWarning:
        # A library's: what it puts in backticks is not an option of this program.
        text = f"{category.__name__}: {text}".replace("`", "'")
    if _LOGGER.isEnabledFor(logging.WARNING):
        _LOGGER.handle(
            _LOGGER.makeRecord(
                _LOGGER.name, logging.WARNING, filename, lineno, "%s", (text,), None
            )
        )
