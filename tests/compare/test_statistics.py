"""Percentiles by hand; intervals against a bootstrap that makes every draw."""

import numpy as np
import pytest

from jittor_ddim.compare.results import Timing
from jittor_ddim.compare.statistics import ratio_of_medians, ratios


def slow_bootstrap(first, second, resamples=4000):
    random = np.random.default_rng(99)
    ratios = []
    for _ in range(resamples):
        a = random.choice(first, len(first))
        b = random.choice(second, len(second))
        ratios.append(np.median(b) / np.median(a))
    ratios.sort()
    return ratios[int(0.025 * resamples)], ratios[int(0.975 * resamples) - 1]


def test_the_figures_of_a_hundred_and_one_calls():
    found = Timing.of([k / 100 for k in reversed(range(101))])
    assert found.count == 101
    assert (found.p50, found.p95, found.p99, found.max) == pytest.approx((0.5, 0.95, 0.99, 1.0))
    assert found.mean == pytest.approx(0.5)


def test_between_two_calls_a_percentile_is_interpolated():
    assert Timing.of([1.0, 3.0]).p95 == pytest.approx(2.9)
    assert Timing.of([2.0]).model_dump() == {
        "count": 1, "mean": 2.0, "p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (7, 8), (30, 51), (57, 57)])
def test_the_interval_is_that_of_a_bootstrap(sizes):
    random = np.random.default_rng(5)
    first = random.lognormal(0, 0.3, sizes[0])
    second = random.lognormal(0.5, 0.3, sizes[1])
    value, low, high = ratio_of_medians(first.tolist(), second.tolist())
    assert value == np.median(second) / np.median(first)
    expected = slow_bootstrap(first, second)
    width = expected[1] - expected[0]
    assert (low, high) == pytest.approx(expected, abs=0.06 * width)


@pytest.mark.parametrize("count", [20, 21])
def test_it_contains_the_true_ratio_about_19_times_in_20(count):
    hits = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        _, low, high = ratio_of_medians(
            random.lognormal(0, 0.2, count).tolist(),
            (2 * random.lognormal(0, 0.2, count)).tolist(),
        )
        hits += low <= 2 <= high
    assert 180 <= hits <= 199


def test_more_calls_narrow_it():
    widths = []
    for count in (10, 100, 1000):
        random = np.random.default_rng(3)
        samples = random.lognormal(0, 0.2, (2, count)).tolist()
        _, low, high = ratio_of_medians(*samples)
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_the_same_figures_give_the_same_interval():
    samples = np.random.default_rng(3).lognormal(0, 0.2, (2, 9)).tolist()
    assert ratio_of_medians(*samples) == ratio_of_medians(*samples)


def test_calls_that_all_took_as_long_leave_no_doubt():
    assert ratio_of_medians([0.5] * 4, [1.5] * 7) == (3.0, 3.0, 3.0)


def test_the_log_of_a_long_run_needs_no_more_memory():
    """9999 resamples of it would be 75 GB."""
    samples = np.random.default_rng(3).lognormal(0, 0.2, (2, 500_000)).tolist()
    value, low, high = ratio_of_medians(*samples)
    assert low < value < high < 1.01 * low


def test_every_side_is_held_against_the_first():
    first = {("train", 4): [1.0, 1.0], ("train", 8): [1.0], ("sample", 1): [1.0, 1.0]}
    others = {("train", 4): [2.0, 2.0], ("train", 8): [1.0, 1.0]}, {("train", 4): [3.0, 3.0]}
    found = [(one.kind, one.batch_size, one.side, one.value) for one in ratios(first, *others)]
    assert found == [("train", 4, 1, 2.0), ("train", 4, 2, 3.0)]
