"""Differences that are known beforehand; what is not a number never passes."""

import math

import numpy as np
import pytest

from jittor_ddim.compare import alignment
from jittor_ddim.compare.alignment import (
    against_first,
    check_curves,
    check_images,
    check_layers,
    check_weights,
    differences,
    of_gradients,
    of_outputs,
)
from jittor_ddim.compare.results import CHECKS, Alignment, Series
from jittor_ddim.parity.rounding import FACTOR, nudged

F = np.float32
BOUNDS = alignment.BOUNDS["float32"]
NAN, INF = math.nan, math.inf


def arrays(**values):
    return {name: np.array(value, F) for name, value in values.items()}


def series(loss, grad_norm=None):
    missing = [None] * len(loss)
    return Series(
        step=list(range(1, len(loss) + 1)), loss=loss, grad_norm=grad_norm or loss,
        step_time_s=missing, data_time_s=missing, cause=missing, host_memory_mb=missing,
        cpu_utilization=missing,
    )  # fmt: skip


def check_curve(name, *sides, again=()):
    return next(check for check in check_curves(sides, BOUNDS, again) if check.name == name)


def test_differences():
    first, second = arrays(b=[1, -4], a=[0, 0]), arrays(a=[0, 0.5], b=[1, -3])
    found = differences(first, second)
    assert [(d.name, d.max_abs, d.scale) for d in found] == [("b", 1, 4), ("a", 0.5, 0)]
    assert [d.relative for d in found] == [0.25, 0.5]


def test_a_difference_is_not_rounded():
    found = differences(arrays(a=[1e8]), arrays(a=[-1]))
    assert found[0].max_abs == 100_000_001


@pytest.mark.parametrize("other", [{}, arrays(a=[1]), arrays(a=[[1, 2]]), arrays(a=[NAN, 2])])
def test_what_is_missing_or_of_another_shape_is_apart(other):
    for pair in ((arrays(a=[1, 2]), other), (other, arrays(a=[1, 2]))):
        found = differences(*pair)
        assert [d.name for d in found] == ["a"]
        assert not check_layers("outputs", BOUNDS, found).passed
        assert not check_layers("gradients", BOUNDS, found).passed


def test_weights():
    check = check_weights({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert check.passed and (check.measured, check.count, check.first) == (0, 2, "")
    check = check_weights({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "x", "d": "4"})
    assert not check.passed
    assert (check.measured, check.count, check.first) == (3, 4, "b")


def test_outputs_name_the_first_that_departs_and_the_worst():
    first = arrays(one=[1.0], two=[10.0], three=[0.1], four=[1.0])
    second = arrays(one=[1.0], two=[10.0 + 1e-4], three=[0.1 + 3e-5], four=[1 + 1e-3])
    check = check_layers("outputs", BOUNDS, of_outputs(differences(first, second)))
    # two is within 2e-5 of its maximum, three not within 2e-5 of 1
    assert (check.first, check.worst, check.count) == ("three", "four", 4)
    assert check.measured == pytest.approx(1e-3, rel=1e-3) and not check.passed
    assert check_layers("outputs", BOUNDS, differences(first, first)).passed


def test_outputs_at_the_bound():
    assert check_layers(
        "outputs", BOUNDS, of_outputs(differences(arrays(a=[0]), arrays(a=[1.99e-5])))
    ).passed
    assert not check_layers(
        "outputs", BOUNDS, of_outputs(differences(arrays(a=[0]), arrays(a=[2.01e-5])))
    ).passed


def test_gradients_are_measured_by_the_largest():
    first, second = arrays(big=[100], nothing=[1e-9]), arrays(big=[100], nothing=[-9e-3])
    check = check_layers("gradients", BOUNDS, of_gradients(differences(first, second)))
    assert check.passed and check.worst == "nothing"
    assert check.measured == pytest.approx(9e-5, rel=1e-3)
    second["nothing"] -= F(2e-3)
    check = check_layers("gradients", BOUNDS, of_gradients(differences(first, second)))
    assert not check.passed and check.first == "nothing"


def test_gradients_that_are_all_zero():
    zero = arrays(a=[0, 0], b=[0])
    assert check_layers("gradients", BOUNDS, of_gradients(differences(zero, zero))).passed
    assert not check_layers(
        "gradients", BOUNDS, of_gradients(differences(zero, arrays(a=[0, 1], b=[0])))
    ).passed


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["outputs", "gradients"])
def test_no_number_never_passes(name, bad):
    good = arrays(a=[1], b=[1, 1], c=[1])
    broken = arrays(a=[1], b=[1, bad], c=[5])
    for pair in ((good, broken), (broken, good), (broken, broken)):
        with np.errstate(invalid="ignore"):
            found = check_layers(name, BOUNDS, differences(*pair))
        assert not found.passed and found.first == "b"


@pytest.mark.parametrize(("name", "bound"), [("losses", 2e-5), ("grad_norms", 1e-4)])
def test_curves(name, bound):
    first = [200.0, 100.0, 50.0]
    near = [value * (1 + 0.9 * bound) for value in first]
    check = check_curve(name, series(first), series(near))
    assert check.passed and check.count == 3 and check.first == ""
    assert check.measured == pytest.approx(0.9 * bound)
    near[1:] = [100 * (1 + 1.1 * bound), 50 * (1 + 2 * bound)]
    check = check_curve(name, series(first), series(near))
    assert (check.passed, check.first, check.worst) == (False, "2", "3")


def test_curves_and_images_in_bfloat16():
    """A few times what was measured, 8e-3, 8.5e-2 and 6 % of the pixels, and no more."""
    bounds = alignment.BOUNDS["bfloat16"]
    ours, theirs = series([1.0], grad_norm=[1.0]), series([1.02], grad_norm=[1.2])
    assert all(check.passed for check in check_curves([ours, theirs], bounds))
    theirs = series([1.04], grad_norm=[1.4])
    assert not any(check.passed for check in check_curves([ours, theirs], bounds))
    image, other = np.zeros((1, 1, 10, 10), F), np.zeros((1, 1, 10, 10), F)
    other[..., :1] = 1
    assert check_images("images_eta0", bounds, image, other).passed
    other[..., :3] = 1
    assert not check_images("images_eta0", bounds, image, other).passed


def test_the_curves_have_their_own_column():
    ours, theirs = series([1.0], grad_norm=[2.0]), series([1.0], grad_norm=[3.0])
    assert check_curve("losses", ours, theirs).passed
    assert check_curve("grad_norms", ours, theirs).measured == 0.5


def test_only_the_first_steps_and_those_of_both_count():
    first = [1.0] * 30
    assert check_curve("losses", series(first), series([1.0] * 20 + [2.0] * 10)).passed
    assert not check_curve("losses", series(first), series([1.0] * 19 + [2.0] * 11)).passed
    assert check_curve("losses", series(first), series([1.0] * 5)).count == 5


@pytest.mark.parametrize("bad", [None, NAN, INF])
def test_a_curve_with_a_gap_never_passes(bad):
    for pair in (([1.0, bad, 1.0], [1.0] * 3), ([1.0] * 3, [1.0, bad, 1.0])):
        check = check_curve("losses", *map(series, pair))
        assert (check.passed, check.first, check.worst) == (False, "2", "2")


def twice(*losses):
    """The check of these losses where rounding moves either side by 2e-4 of them in step 3."""
    again = [
        {"loss": [a * (1 + gap) for a, gap in zip(own, (0, 0, 2e-4, 0), strict=True)],
         "grad_norm": own}
        for own in losses
    ]  # fmt: skip
    return check_curve("losses", *map(series, losses), again=again)


def test_what_rounding_alone_does_to_a_side_is_allowed_to_the_other():
    """By a factor; what comes before the steps at which it shows is held to the usual bound."""
    first, off = [100.0] * 4, [100.0, 100.0, 100.05, 100.05]
    alone = check_curve("losses", series(first), series(off))
    assert (alone.passed, alone.first, alone.bound, alone.rounding) == (False, "3", 2e-5, None)
    check = twice(first, off)
    assert (check.passed, check.worst, check.count) == (True, "3", 4)
    assert check.measured == pytest.approx(5e-4)
    assert check.rounding == pytest.approx(2e-4) and check.bound == pytest.approx(FACTOR * 2e-4)
    early = twice(first, [100.0, 100.05, 100.0, 100.0])
    assert (early.passed, early.first, early.bound) == (False, "2", 2e-5)
    far = twice(first, [100.0, 100.0, 100.3, 100.0])
    assert (far.passed, far.first) == (False, "3") and far.measured == pytest.approx(3e-3)


@pytest.mark.parametrize("bad", [None, NAN, INF])
def test_a_second_training_that_fails_explains_nothing(bad):
    again = [{"loss": [1.0, bad, 2.0], "grad_norm": [1.0] * 3}] * 2
    check = check_curve("losses", series([1.0] * 3), series([1.0, 1.0, 1.1]), again=again)
    assert (check.passed, check.bound, check.rounding) == (False, 2e-5, None)


def test_a_nudged_weight_is_the_next_number():
    given = arrays(a=[1.0, -3.0, 0.0], b=[1e-20]) | {"count": np.array([3])}
    found = nudged(given)
    ulps = np.abs(found["a"].view(np.int32) - given["a"].view(np.int32))
    assert ulps.tolist() == [1, 1, 0] and found["a"].dtype == F
    assert abs(int(found["b"].view(np.int32)[0] - given["b"].view(np.int32)[0])) == 1
    assert found["count"] is given["count"]
    many = arrays(a=np.full(1000, 0.1))
    assert 400 < (nudged(many)["a"] > many["a"]).sum() < 600
    np.testing.assert_array_equal(nudged(many)["a"], nudged(many)["a"])


def test_a_curve_of_zeros():
    zero = series([0.0, 0.0])
    assert check_curve("losses", zero, zero).passed
    assert not check_curve("losses", zero, series([0.0, 1.0])).passed


def test_images_count_pixels_that_are_more_than_a_grey_level_apart():
    first = np.zeros((4, 1, 10, 25), F)
    second = first + F(0.9 / 255)
    assert check_images("images_eta0", BOUNDS, first, second).measured == 0
    second[2, 0, 0, 0] = 1.1 / 255
    check = check_images("images_eta0", BOUNDS, first, second)
    assert (check.measured, check.count, check.passed) == (1e-3, 1000, True)
    assert (check.first, check.worst) == ("2", "2")
    second[3, 0, 0, :2] = 1
    check = check_images("images_eta1", BOUNDS, first, second)
    assert (check.measured, check.passed, check.first, check.worst) == (3e-3, False, "2", "3")


def test_an_image_of_no_numbers_is_apart():
    first = np.zeros((2, 1, 4, 4), F)
    broken = np.full_like(first, np.nan)
    for pair in ((first, broken), (broken, first), (broken, broken)):
        assert check_images("images_eta0", BOUNDS, *pair).measured == 1


def test_of_several_sides_the_one_that_is_furthest_from_the_first_counts():
    first, near, far = arrays(a=[1], b=[2]), arrays(a=[1], b=[2.5]), arrays(a=[NAN], b=[2.25])
    found = differences(first, near, far)
    assert [(d.name, d.side) for d in found] == [("a", 2), ("b", 1)]
    check = check_layers("outputs", BOUNDS, of_outputs(found))
    assert (check.worst, check.side) == ("a", 2)
    hashes = {"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "3"}
    check = against_first(check_weights, hashes[0], hashes[1:])
    assert (check.measured, check.side) == (1, 2)
    assert against_first(check_weights, hashes[0], hashes[1:2]).passed


def test_aligned_is_every_check():
    good = check_weights({"a": "1"}, {"a": "1"})
    bad = check_weights({"a": "1"}, {"a": "2"})
    every = [good.model_copy(update={"name": name}) for name in CHECKS]
    for checks, aligned in ((every, True), ([good], None), ([good, bad], False), ([], None)):
        assert Alignment(checks=checks, outputs=[], gradients=[]).aligned is aligned


def test_what_is_no_number_survives_the_file():
    for value in (NAN, INF):
        check = check_weights({}, {}).model_copy(update={"measured": value})
        stored = type(check).model_validate_json(check.model_dump_json())
        assert math.isnan(stored.measured) if value is NAN else stored.measured == value
