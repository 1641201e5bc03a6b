import comparison_example as example
import pytest

from jittor_ddim.compare.report.verdict import findings
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Alignment, Located, Ratio


def verdict(comparison):
    return [(f.state, f.title, f.detail.replace("‑", "-").replace("\xa0", " "))
            for f in findings(comparison, Words("en"))]  # fmt: skip


def speed(comparison, *ratios):
    comparison.ratios = list(ratios)
    return verdict(comparison)[1]


def ratio(value, low, high, batch=16, kind="train"):
    return Ratio(kind=kind, batch_size=batch, value=value, low=low, high=high)


def test_aligned_and_faster_in_this_order():
    states, titles, details = zip(*verdict(example.complete()), strict=True)
    assert states == ("good", "fact", "open", "good")
    assert titles[0] == "Aligned: the same model on every side; all 7 checks passed."
    assert "layer outputs: 3.1e-6 (2.0e-5)" in details[0]
    assert "images at η = 1: 0.0244 % (0.1 %)" in details[0]
    assert titles[1] == "Jittor trains 1.33× as fast as PyTorch."
    assert details[1] == "At batch 32; 95 % interval 1.29× to 1.38×."
    assert titles[2] == "Sampling: no measurable difference in speed between Jittor and PyTorch."
    assert "1.013, 95 % interval 0.981 to 1.047" in details[2]
    assert titles[3] == "Each process had only its own framework loaded."


def test_a_wider_bound_is_explained():
    comparison = example.complete()
    losses = next(c for c in comparison.alignment.checks if c.name == "losses")
    losses.measured, losses.bound, losses.rounding, losses.worst = 7e-5, 8.9e-4, 8.9e-5, "3"
    for measured, state in ((7e-5, "good"), (9e-4, "bad")):
        losses.measured = measured
        found, _, detail = verdict(comparison)[0]
        assert found == state and "within 20 steps by up to: training losses 8.9e-5." in detail
    assert "训练" in findings(comparison, Words("zh"))[0].detail


def test_a_departure_is_located():
    comparison = example.complete()
    comparison.alignment = example.alignment(outputs=1e-3)
    comparison.alignment.located = Located(
        check="eval", module="mid.norm", cause="norm_epsilon",
        where={"en": "before mid.conv", "zh": "调用 mid.conv 之前"},
        evidence={"en": "1e-05 and 1e-06", "zh": "1e-05 与 1e-06"}, report="align/report.html",
    )  # fmt: skip
    state, title, detail = verdict(comparison)[1]
    assert (state, title) == ("fact", "The first to depart is mid.norm, before mid.conv.")
    assert "another epsilon in a normalising layer. Measured: 1e-05 and 1e-06." in detail
    assert "in this check: module outputs, evaluation mode. More in align/report.html." in detail
    chinese = findings(comparison, Words("zh"))[1]
    assert "调用 mid.conv 之前" in chinese.title and "测得：1e-05 与 1e-06" in chinese.detail
    comparison.alignment.located = Located(report="align/report.html")
    assert "look in this package's kernels" in verdict(comparison)[1][1]


def test_the_second_side_may_be_the_faster():
    state, title, detail = speed(example.complete(), ratio(0.8, 0.78, 0.82))
    assert (state, title) == ("fact", "PyTorch trains 1.25× as fast as Jittor.")
    assert detail == "At batch 16; 95 % interval 1.22× to 1.28×."


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.2), (0.9, 1.0), (0.7, 1.4)])
def test_an_interval_that_holds_one_tells_no_difference(low, high):
    state, title, _ = speed(example.complete(), ratio(1.02, low, high))
    assert (state, title[:44]) == ("open", "Training: no measurable difference in speed ")


def test_a_batch_size_with_another_answer_is_named():
    _, title, detail = speed(
        example.complete(), ratio(0.9, 0.85, 0.95, batch=1), ratio(1.3, 1.2, 1.4, batch=64)
    )
    assert title.startswith("Jittor trains 1.30×")
    assert "At batch 1 the result differs" in detail


def test_no_ratio_or_one_that_is_no_number_is_not_compared():
    nan = float("nan")
    for ratios in ([], [ratio(nan, nan, nan)], [ratio(1.1, nan, 1.2)]):
        state, title, _ = speed(example.complete(), *ratios)
        assert (state, title) == ("open", "Training speed was not compared.")


@pytest.mark.parametrize("measured", [3e-5, float("nan"), float("inf")])
def test_not_aligned_says_which_by_how_much_and_where(measured):
    comparison = example.complete()
    comparison.alignment = example.alignment(outputs=measured, losses=0.5)
    state, title, detail = verdict(comparison)[0]
    assert (state, title) == ("bad", "Not aligned: 2 of 7 checks failed.")
    shown = {3e-5: "3.0e-5"}.get(measured, "NaN" if measured != measured else "∞")
    assert f"The layer outputs differ by {shown}; the limit is 2.0e-5." in detail
    assert detail.startswith("The first difference above its limit is at down.1.block.0.")


@pytest.mark.parametrize("alignment", [None, Alignment(checks=[], outputs=[], gradients=[])])
def test_alignment_that_was_not_measured_is_not_claimed(alignment):
    comparison = example.complete()
    comparison.alignment = alignment
    state, title, _ = verdict(comparison)[0]
    assert state == "open" and title == "Alignment was not measured."


def test_checks_that_were_not_made_are_named():
    state, title, detail = verdict(example.with_failure())[1]
    assert state == "open"
    assert title == "Aligned as far as measured: 4 of 7 checks were made, and all of them passed."
    assert "Not measured: gradient norms, images at η = 0, images at η = 1." in detail


def test_a_failure_comes_first():
    state, title, detail = verdict(example.with_failure())[0]
    assert (state, title) == ("bad", "PyTorch stopped early.")
    assert "MemoryError: cannot allocate <3 GiB> & more" in detail


def test_a_process_with_both_frameworks_is_not_clean():
    comparison = example.complete()
    comparison.sides[0].frameworks = ["jittor", "torch"]
    state, title, detail = verdict(comparison)[-1]
    assert (state, title) == (
        "bad",
        "Mixed process: Jittor had the framework of another engine loaded.",
    )
    assert "Jittor: jittor + torch" in detail
    comparison.sides[1].frameworks = []
    assert verdict(comparison)[-1][0] == "bad"
    comparison.sides[0].frameworks = ["torch"]
    assert verdict(comparison)[-1][0] == "bad"
    comparison.sides[0].frameworks = ["jittor"]
    assert verdict(comparison)[-1][0] == "open"


def test_two_runs_are_no_engines():
    found = verdict(example.of_runs())
    assert [state for state, _, _ in found] == ["fact", "fact", "open"]
    assert found[0][2] == "Differing keys (2): training.batch_size, optim.lr."
    first, second = (side.training.loss for side in example.of_runs().sides)
    means = sum(first[198:220]) / 22, sum(second[198:220]) / 22
    assert f"is {means[0]:.1f} for exp/logs/first" in found[1][1]
    assert f"and {means[1]:.1f} for exp/logs/second" in found[1][1]
    assert found[1][2] == "Mean over the last 22 steps that both runs have."
    same = example.of_runs()
    same.differing_keys = []
    assert verdict(same)[0][:2] == ("good", "The runs have the same config.")
