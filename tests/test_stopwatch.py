"""What a slow step did meanwhile, made to happen."""

import ctypes
import gc
import importlib
import shutil
import sys
import time
from pathlib import Path

import pytest

from jittor_ddim import stopwatch
from jittor_ddim.stopwatch import StepWatch, count_loads


def library() -> Path:
    """A shared library that is there for sure: one of Python's own."""
    return Path(importlib.import_module("_ctypes").__file__)


def test_a_step_that_does_nothing_special():
    with StepWatch().running() as watch:
        result, figures = watch.time(lambda: time.sleep(0.05) or 7.0)
    assert result == 7.0
    assert 0.05 <= figures["step_time_s"] < 0.5
    assert figures["kernels_loaded"] == 0
    assert figures["gc_time_s"] == 0


@pytest.mark.parametrize("count", [1, 3])
def test_libraries_that_a_step_loads_are_counted(count, tmp_path):
    copies = [shutil.copy(library(), tmp_path / f"kernel{k}.so") for k in range(count)]
    with StepWatch().running() as watch:
        _, figures = watch.time(lambda: len([ctypes.CDLL(str(copy)) for copy in copies]))
        assert figures["kernels_loaded"] == count
        # What is loaded already is no work.
        _, figures = watch.time(lambda: len([ctypes.CDLL(str(copy)) for copy in copies]))
        assert figures["kernels_loaded"] == 0


def test_the_count_only_grows():
    before = count_loads()
    assert before > 0 and count_loads() == before


def test_the_garbage_collector_is_seen():
    with StepWatch().running() as watch:
        rubbish = [[] for _ in range(200_000)]
        _, figures = watch.time(lambda: float(gc.collect()))
        assert 0 < figures["gc_time_s"] <= figures["step_time_s"]
        assert figures["gc_time_s"] > 0.3 * figures["step_time_s"]
        gc.collect()  # between steps
        _, figures = watch.time(lambda: 1.0)
        assert figures["gc_time_s"] == 0
    assert rubbish


def test_what_is_collected_while_the_watch_itself_works_is_not_the_steps(monkeypatch):
    monkeypatch.setattr(stopwatch, "count_loads", gc.collect)
    with StepWatch().running() as watch:
        _, figures = watch.time(lambda: 1.0)
        assert figures["gc_time_s"] == 0


def test_nobody_listens_afterwards():
    before = list(gc.callbacks)
    with pytest.raises(ZeroDivisionError), StepWatch().running() as watch:
        assert len(gc.callbacks) == len(before) + 1
        watch.time(lambda: 1 / 0)
    assert gc.callbacks == before


def test_two_watches_at_once():
    before = list(gc.callbacks)
    with StepWatch().running() as outer, StepWatch().running() as inner:
        _, seen = outer.time(lambda: inner.time(lambda: float(gc.collect()))[1]["gc_time_s"])
        assert seen["gc_time_s"] > 0
    assert gc.callbacks == before and "torch" not in sys.modules
