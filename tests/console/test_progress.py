import io
import logging
import sys

import pytest
from rich.console import Console

from jittor_ddim.console import progress as module
from jittor_ddim.console.progress import downloading, progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_thirty_seconds(clock, caplog, monkeypatch):
    # FORCE_COLOR makes rich believe that any file is a terminal.
    monkeypatch.setattr(module, "CONSOLE", Console(file=io.StringIO(), force_terminal=True))
    with caplog.at_level(logging.INFO), progress(1000, "Sampling", start=100) as counter:
        for _ in range(90):  # 90 seconds, 4 images a second
            clock[0] += 1
            counter.advance(4, loss=0.0312345)
    assert caplog.messages == [
        "Sampling: 220/1000, 4/s, ETA 0:03:15, loss 0.03123",
        "Sampling: 340/1000, 4/s, ETA 0:02:45, loss 0.03123",
        "Sampling: 460/1000, 4/s, ETA 0:02:15, loss 0.03123",
    ]


def test_a_slow_job_tells_seconds_each(clock, caplog):
    with caplog.at_level(logging.INFO), progress(3, "Training") as counter:
        clock[0] += 45
        counter.advance()
    assert caplog.messages == ["Training: 1/3, 45 s each, ETA 0:01:30"]


def test_nothing_done_yet_has_no_rate(clock, caplog):
    with caplog.at_level(logging.INFO), progress(3, "Training") as counter:
        clock[0] += 45
        counter.advance(0)
    assert caplog.messages == ["Training: 0/3"]


def test_a_terminal_gets_a_bar(monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    monkeypatch.setattr(module, "CONSOLE", console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress(10, "Training [x]", start=4) as counter:
        counter.advance(6, loss=0.5)
    assert "Training [x]" in file.getvalue()
    assert "10/10" in file.getvalue()
    assert "loss 0.5" in file.getvalue()


def test_a_download_counts_megabytes_and_not_those_that_were_there(clock, caplog):
    with caplog.at_level(logging.INFO), downloading("w.ckpt") as received:
        for megabytes in (100, 220, 340, 0, 30):  # the server begins again, which is no rate
            received(megabytes * 10**6 + 1, 400 * 10**6 - 1)
            clock[0] += 60
    assert caplog.messages == [
        "Downloading w.ckpt (MB): 220/400, 2/s, ETA 0:01:30",
        "Downloading w.ckpt (MB): 340/400, 2/s, ETA 0:00:30",
        "Downloading w.ckpt (MB): 0/400",
        "Downloading w.ckpt (MB): 30/400, 2 s each, ETA 0:12:20",
    ]
