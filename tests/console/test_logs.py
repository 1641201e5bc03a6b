import io
import logging
import re
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from jittor_ddim.console import logs
from jittor_ddim.errors import UserError

LINE = r"INFO - training\.py - \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - "


@pytest.fixture(autouse=True)
def clean_logger(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    logger = logging.getLogger("jittor_ddim")
    before = (logger.level, logger.propagate)
    yield
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.level, logger.propagate = before


@pytest.fixture
def console(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(logs, "CONSOLE", Console(file=file, force_terminal=True, width=40))
    return file


def log(message, name="jittor_ddim.training"):
    logger = logging.getLogger(name)
    if logger.isEnabledFor(logging.INFO):
        logger.handle(logger.makeRecord(name, logging.INFO, "training.py", 1, message, (), None))


def test_the_official_line_goes_to_both(console, tmp_path):
    message = "[Epoch 0] Step: 1, Loss: 0.768200, Step Time: 0.033s [red]:smile: https://x"
    logs.setup_logging(tmp_path / "doc" / "stdout.txt", "info")
    log(message)
    written = (tmp_path / "doc" / "stdout.txt").read_text(encoding="utf-8")
    assert re.fullmatch(LINE + re.escape(message) + "\n", written)
    assert console.getvalue() == written  # no markup, colours or wrapping at 40 columns


def test_settings_are_shown_as_flags_and_a_librarys_words_are_not(console, tmp_path):
    logs.setup_logging(tmp_path / "stdout.txt", "info")
    log("`seed` 3 is ignored, `x=1` is not")
    warnings.showwarning("choose another `doc`", UserWarning, "config.py", 1)
    warnings.showwarning("`length` is deprecated", FutureWarning, "numpy.py", 1)
    written = (tmp_path / "stdout.txt").read_text(encoding="utf-8")
    lines = [line.rpartition(" - ")[2] for line in written.splitlines()]
    assert lines == [
        "--seed 3 is ignored, `x=1` is not",
        "choose another --doc",
        "FutureWarning: 'length' is deprecated",
    ]
    assert console.getvalue() == written


def test_setting_up_again_appends_without_doubling(console, tmp_path):
    path = tmp_path / "stdout.txt"
    for _ in range(3):
        logs.setup_logging(path, "info")
        log("once")
    assert path.read_text(encoding="utf-8").count("once") == 3
    logs.setup_logging(None, "info")
    log("console only")
    assert "console only" not in path.read_text(encoding="utf-8")


def test_level_and_other_loggers(console, caplog):
    logs.setup_logging(None, "WARNING")
    log("too quiet")
    log("a stranger", name="stranger")
    assert console.getvalue() == ""
    with pytest.raises(UserError, match="`verbose` loud.*info"):
        logs.setup_logging(None, "loud")


def test_a_full_disk_does_not_drown_the_console(console, capsys):
    logs.setup_logging(Path("/dev/full"), "info")
    log("still here")
    assert "still here" in console.getvalue()
    assert capsys.readouterr().err == ""
    handler = next(h for h in logs._LOGGER.handlers if isinstance(h, logging.FileHandler))
    with pytest.raises(OSError):
        handler.close()


def test_a_warning_is_one_line_under_its_file(console, tmp_path):
    logs.setup_logging(tmp_path / "stdout.txt", "info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # catch_warnings puts Python's own hook back.
        warnings.showwarning = logs._log_warning
        warnings.warn("two\nlines", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = (tmp_path / "stdout.txt").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"WARNING - test_logs\.py - .* - two lines", first)
    assert second.endswith(" - DeprecationWarning: old")


def test_a_file_gets_the_warnings_that_came_before_it(console, tmp_path):
    logs.start_logging()
    warn = logging.getLogger("jittor_ddim.runs.folder").warning
    warn("first")
    logs.setup_logging(None, "critical")  # a job's own level; the console is silent from here
    warn("second \udce9")
    log("no warning")
    logs.setup_logging(tmp_path / "stdout.txt", "info")
    warn("third")
    lines = (tmp_path / "stdout.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" - ")[-1] for line in lines] == ["first", "second \\udce9", "third"]
    assert all(re.match(r"WARNING - test_logs\.py - \d{4}-", line) for line in lines)
    logs.setup_logging(tmp_path / "other.txt", "info")
    assert (tmp_path / "other.txt").read_text(encoding="utf-8") == ""
    logs.setup_logging(None, "info")
    warn("of another command")
    logs.start_logging()
    logs.setup_logging(tmp_path / "other.txt", "info")
    assert (tmp_path / "other.txt").read_text(encoding="utf-8") == ""
