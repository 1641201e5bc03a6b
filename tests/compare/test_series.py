"""Why a step was slow: each cause, their order, and what logs lack."""

import json
import time

import numpy as np
import pytest

from jittor_ddim.compare.series import causes, read_series
from jittor_ddim.errors import UserError

KEYS = ("kernels_loaded", "gc_time_s", "data_time_s", "pause_time_s", "cpu_time_s", "saving")


def columns(count=12, **changes):
    """Steps of 0.1 s; a keyword is a column, or the values of some of its rows."""
    found = {key: np.zeros(count) for key in KEYS}
    found |= {"step": np.arange(1.0, count + 1), "step_time_s": np.full(count, 0.1)}
    for key, rows in changes.items():
        for row, value in rows.items():
            found[key][row] = value
    return found


def test_ordinary_steps_have_no_cause():
    assert causes(columns(), 3) == ["warmup"] * 3 + [None] * 9


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        (None, {"step_time_s": {5: 0.149}}),
        ("unknown", {"step_time_s": {5: 0.3}}),
        ("compile", {"step_time_s": {5: 0.3}, "kernels_loaded": {5: 1}}),
        (None, {"kernels_loaded": {5: 1}}),
        ("garbage collection", {"step_time_s": {5: 0.3}, "gc_time_s": {5: 0.11}}),
        ("unknown", {"step_time_s": {5: 0.3}, "gc_time_s": {5: 0.09}}),
        ("data wait", {"data_time_s": {5: 0.1}}),
        ("data wait", {"step_time_s": {5: 0.15}, "data_time_s": {5: 0.06}}),
        ("unknown", {"step_time_s": {5: 0.3}, "data_time_s": {5: 0.1}}),
        ("snapshot", {"step_time_s": {5: 0.3}, "pause_time_s": {5: 0.2}}),
        ("snapshot", {"step_time_s": {5: 0.3}, "cpu_time_s": {5: 0.9}, "saving": {5: 1}}),
        ("unknown", {"step_time_s": {5: 0.3}, "pause_time_s": {5: 0.05}}),
        ("unknown", {"step_time_s": {5: 0.3}, "pause_time_s": {4: 0.2}}),
    ],
)
def test_one_step(cause, changes):
    found = causes(columns(**changes), 3)
    assert found[5] == cause
    assert found[3:5] + found[6:] == [None] * 8


def test_the_first_of_several_causes_is_named():
    rows = {"step_time_s": 1.0, "kernels_loaded": 2, "gc_time_s": 0.9, "data_time_s": 2.0,
            "pause_time_s": 1.0}  # fmt: skip
    order = ["compile", "garbage collection", "data wait", "snapshot"]
    keys = ["kernels_loaded", "gc_time_s", "data_time_s", "pause_time_s"]
    rows["gc_time_s"] = 1.5  # of an excess of 2.9
    for k, cause in enumerate(order):
        left = {key: value for key, value in rows.items() if key not in keys[:k]}
        assert causes(columns(**{key: {5: value} for key, value in left.items()}), 3)[5] == cause


def test_warmup_is_said_first():
    assert causes(columns(step_time_s={1: 9.0}, kernels_loaded={1: 5}), 3)[1] == "warmup"


def test_a_slow_warmup_does_not_hide_a_slow_step():
    slow_start = {k: 5.0 for k in range(7)}
    found = causes(columns(step_time_s=slow_start | {9: 0.3}), 7)
    assert found == ["warmup"] * 7 + [None, None, "unknown", None, None]


@pytest.mark.parametrize("warmup", [12, 13, 100])
def test_a_warmup_as_long_as_the_run(warmup):
    assert causes(columns(), warmup) == ["warmup"] * 12


def test_a_log_of_an_earlier_version():
    old = {"step": np.arange(1.0, 7), "step_time_s": np.array([9, 1, 1, 1, 3, 1.0])}
    assert causes(old, 1) == ["warmup", None, None, None, "unknown", None]
    assert causes({"step": old["step"]}, 1) == ["warmup"] + [None] * 5


def test_steps_without_a_time_are_no_measure():
    """Were they zero, every other step would be slow."""
    gaps = {k: np.nan for k in (4, 5, 6, 7, 8, 9)}
    assert causes(columns(step_time_s=gaps | {10: 0.2}), 3)[3:] == [None] * 7 + ["unknown", None]
    assert causes(columns(data_time_s=dict.fromkeys(range(12), np.nan)), 0) == [None] * 12


def test_a_long_run_is_read_in_moments():
    count = 100_000
    slow = columns(count, step_time_s=dict.fromkeys(range(0, count, 5), 0.3))
    start = time.perf_counter()
    assert causes(slow, 3).count("unknown") == count // 5 - 1
    assert time.perf_counter() - start < 5


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_series_has_what_the_log_has(tmp_path):
    path = write(
        tmp_path / "metrics.jsonl",
        {"step": 1, "loss": 3.5, "grad_norm": 2.0, "step_time_s": 0.5, "gpu_power_w": 90},
        {"step": 2, "loss": None, "step_time_s": 0.25, "cpu_utilization": 50.0},
    )
    found = read_series(path, 1)
    assert (found.step, found.loss, found.grad_norm) == ([1, 2], [3.5, None], [2.0, None])
    assert (found.step_time_s, found.cpu_utilization) == ([0.5, 0.25], [None, 50.0])
    assert found.gpu_power_w == [90.0, None] and found.gpu_memory_mb is None
    assert found.cause == ["warmup", None]
    assert found.counted_times == [0.25] and read_series(path, 2).counted_times == []


def test_a_process_that_started_again_warms_up_again(tmp_path):
    records = [{"step": step, "step_time_s": 1.0} for step in range(1, 7)]
    records[3] |= {"step_time_s": 9.0, "kernels_loaded": 5, "restarting": 1}
    found = read_series(write(tmp_path / "metrics.jsonl", *records), 1)
    assert found.cause == ["warmup", None, None, "warmup", None, None]
    assert found.counted_times == [1.0] * 4


def test_there_may_be_no_log_or_no_step_in_it(tmp_path):
    assert read_series(tmp_path / "nowhere.jsonl", 3) is None
    assert read_series(write(tmp_path / "empty.jsonl"), 3) is None


def test_a_damaged_log_is_the_users(tmp_path):
    path = write(tmp_path / "metrics.jsonl", {"step": 1}, "what", {"step": 2})
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_series(path, 3)
