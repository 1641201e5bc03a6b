"""How far losses may part where the first side, trained again, parts from itself."""

from types import SimpleNamespace

import pytest

from jittor_ddim.parity.align.measures import BOUNDS
from jittor_ddim.parity.align.results import Alignment, Check, SideResult
from jittor_ddim.parity.align.rounding import Rounding
from jittor_ddim.parity.align.training_checks import check_losses
from jittor_ddim.parity.align.work import Work

FIRST = [1.0, 1.0, 1.0]


class First:
    """A side whose third loss moves by ``gap`` when its weights do."""

    def __init__(self, gap):
        self.gap, self.calls = gap, []

    def call(self, task, **arguments):
        self.calls.append((task, arguments["off"], arguments["draw"]))
        return [{"loss": loss} for loss in (1.0, 1.0, 1.0 + self.gap)]


def checked(second, gap, **departs):
    """The check of the losses and the first side, the others of training having gone so."""
    names = ("train", "loss", "gradients", "rate", "step")
    checks = [Check(name, departs.get(name, "agrees"), worst=1e-6) for name in names]
    sides = [SideResult("one", "one.py", losses=FIRST), SideResult("two", "two.py", losses=second)]
    first, result = First(gap), Alignment(sides, "float32", checks)
    work = Work(first, SimpleNamespace(), None, BOUNDS["float32"], result)
    check_losses(work, Rounding(work, len(FIRST)))
    return result.checks[-1], result.findings, first


def test_what_the_first_side_does_to_itself_is_allowed_ten_times():
    check, findings, first = checked([1.0, 1.0, 1.02], 1e-2)
    assert check.status == "agrees" and check.bound == pytest.approx(0.1) and not findings
    assert check.notes == ["rounding alone makes 0.1 of it"]
    assert first.calls == [("train", 1e-6, 1), ("train", 1e-6, 2)]


def test_earlier_steps_are_held_to_the_usual_bound():
    check, findings, _ = checked([1.0, 1.001, 1.02], 1e-2)
    assert (check.status, check.where, check.bound) == ("departs", "step 1", 2e-4)
    assert findings[0].difference == pytest.approx(1e-3)


def test_within_the_bound_nothing_is_trained_again():
    check, _, first = checked([1.0, 1.0, 1.0001], 1e-2)
    assert check.status == "agrees" and not first.calls


@pytest.mark.parametrize("earlier", ["train", "loss", "gradients", "rate", "step"])
def test_what_departed_before_explains_more_than_rounding(earlier):
    check, _, first = checked([1.0, 1.0, 1.02], 1e-2, **{earlier: "departs"})
    assert check.status == "departs" and not check.notes and not first.calls


def test_a_second_training_that_breaks_explains_nothing():
    check, _, _ = checked([1.0, 1.0, 1.02], float("nan"))
    assert check.status == "departs" and check.bound == BOUNDS["float32"].losses
