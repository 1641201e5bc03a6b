"""What a request becomes: the plan, the files to start from, the verdict."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest
from comparing import CONFIG

from jittor_ddim.checkpoints import load_weights, save_weights
from jittor_ddim.compare import report
from jittor_ddim.compare.gather import gather
from jittor_ddim.compare.plan import Plan
from jittor_ddim.compare.results import Alignment, Check, Comparison, Located
from jittor_ddim.errors import UserError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.jobs import compare as job
from jittor_ddim.jobs.compare import CompareRequest, run_comparison
from jittor_ddim.parity.align.phrases import say

DROPPING = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"dropout": 0.3})})


@pytest.fixture
def request_(tmp_path):
    return CompareRequest(
        title="digits.yml", config=DROPPING, exp=tmp_path / "exp", steps=6, batch_size=None,
        batch_sizes=(4, 1, 4), timesteps=5, num_samples=3, samplers=(), pretrained=None,
        weights=None, seed=7, out=None, device="cpu", precision="float32", language="en",
        verbose="critical", command="ddim",
    )  # fmt: skip


@pytest.fixture
def measured(monkeypatch, restored_logging):
    """The calls of `measure`, which does nothing; and no report."""
    calls = []
    monkeypatch.setattr(job, "check_engine", lambda name: None)
    monkeypatch.setattr(job, "measure", lambda *given: calls.append(given))
    monkeypatch.setattr(report, "write_report", lambda c, s, folder, lang: folder / f"{lang}.html")
    return calls


def plan_in(folder):
    return Plan.model_validate_json((folder / "plan.json").read_bytes())


def test_the_plan(request_, measured, tmp_path):
    result = run_comparison(dataclasses.replace(request_, language="zh"))
    folder = tmp_path / "exp" / "comparisons" / "digits"
    ((plan, where, exp),) = measured
    assert (where, exp) == (folder, tmp_path / "exp") and plan_in(folder) == plan
    assert plan.config.model.dropout == 0 and plan.batch_size == 16
    assert plan.batch_sizes == (1, 4, 16)
    assert (plan.steps, plan.timesteps, plan.images, plan.seed) == (6, 5, 3, 7)
    assert (plan.weights, plan.device, plan.engines) == ("fresh", "cpu", ("jittor", "pytorch"))
    assert "1797" in plan.data or "digits" in plan.data.lower()
    found, expected = load_weights(folder / "start.safetensors"), fresh_weights(plan.config, 7)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert not (folder / "trained.safetensors").exists()
    assert result["report"] == str(folder / "zh.html") and result["aligned"] is None
    assert json.loads((folder / "results.json").read_text())["title"] == "digits.yml"


def test_the_batch_size_and_the_folder_may_be_given(request_, measured, tmp_path):
    changed = dataclasses.replace(request_, batch_size=2, out=tmp_path / "out")
    run_comparison(changed)
    assert plan_in(tmp_path / "out").batch_sizes == (1, 2, 4)
    run_comparison(changed)
    assert len(measured) == 2 and measured[0] == measured[1]


@pytest.mark.parametrize(("device", "size"), [("cpu", 16), ("auto", 16), ("cuda", 4)])
def test_on_a_gpu_that_is_asked_for_the_batch_size_is_the_configs(
    device, size, request_, measured
):
    run_comparison(dataclasses.replace(request_, device=device))
    assert measured[0][0].batch_size == size


def test_pretrained_weights_are_started_from_and_sampled_with(request_, measured, tmp_path):
    weights = fresh_weights(CONFIG, 99)
    save_weights(tmp_path / "given.safetensors", weights, CONFIG)
    changed = dataclasses.replace(request_, pretrained=tmp_path / "given.safetensors")
    run_comparison(changed)
    folder = tmp_path / "exp" / "comparisons" / "digits"
    for name in ("start", "trained"):
        found = load_weights(folder / f"{name}.safetensors")
        assert all(np.array_equal(found[key], weights[key]) for key in weights)
    assert len(plan_in(folder).weights) == 16
    (folder / "jittor").mkdir()
    (folder / "jittor" / "weights.json").write_text("{}")
    with pytest.raises(UserError, match="weights [0-9a-f]{16} instead of fresh"):
        run_comparison(request_)


def test_the_kind_of_weights_is_that_of_pretrained_ones(request_, measured, tmp_path):
    with pytest.raises(UserError, match="`weights` raw: belongs to `pretrained`"):
        run_comparison(dataclasses.replace(request_, weights="raw"))
    path = tmp_path / "one.safetensors"
    save_weights(path, fresh_weights(CONFIG, 1), CONFIG)
    with pytest.raises(UserError, match="no moving average"):
        run_comparison(dataclasses.replace(request_, pretrained=path, weights="ema"))
    assert not measured


def test_a_plan_that_came_to_nothing_takes_its_weights_along(request_, measured, tmp_path):
    run_comparison(request_)
    folder = tmp_path / "exp" / "comparisons" / "digits"
    (folder / "results.json").unlink()
    run_comparison(dataclasses.replace(request_, seed=8))
    found, expected = load_weights(folder / "start.safetensors"), fresh_weights(CONFIG, 8)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_the_printed_result_is_json_whatever_was_measured(request_, measured, monkeypatch):
    def broken(plan, folder, command):
        comparison, samples = gather(plan, folder, command)
        check = Check(name="losses", measured=math.nan, bound=1.0)
        comparison.alignment = Alignment(checks=[check], outputs=[], gradients=[])
        comparison.sides[1].failure = "train: killed"
        return comparison, samples

    monkeypatch.setattr(job, "gather", broken)
    monkeypatch.setattr(job, "_locate", lambda *_: False)  # the real engines, for minutes
    result = run_comparison(request_)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["aligned"], result["checks"]) == (False, {"losses": None})
    assert result["failures"] == {"PyTorch": "train: killed"}


@pytest.fixture
def aligned(monkeypatch, measured):
    """The requests to `ddim align`, which finds another epsilon; one check has failed."""
    asked = []

    def run(request):
        asked.append((request, os.environ.get("JITTOR_DDIM_KERNELS")))
        found = {"check": "eval", "module": "mid.norm", "where": "", "cause": "norm_epsilon",
                 "evidence": say("two", first="1e-05", second="1e-06")}  # fmt: skip
        return {"report": str(request.out / "report.html"), "findings": [found]}

    def gathered(plan, folder, command, real=gather):
        comparison, samples = real(plan, folder, command)
        located = (folder / "located.json").exists()
        comparison.alignment = Alignment(
            checks=[Check(name="losses", measured=1.0, bound=1e-5)], outputs=[], gradients=[],
            located=Located.model_validate_json((folder / "located.json").read_text())
            if located else None,
        )  # fmt: skip
        comparison.device = plan.device
        return comparison, samples

    monkeypatch.setattr("jittor_ddim.jobs.align.run_alignment", run)
    monkeypatch.setattr(job, "gather", gathered)
    return asked


def test_a_departure_goes_through_align_once(request_, aligned, tmp_path):
    folder = tmp_path / "exp" / "comparisons" / "digits"
    for _ in range(2):
        run_comparison(request_)
        results = Comparison.model_validate_json((folder / "results.json").read_text())
        assert results.alignment.located == Located(
            check="eval", module="mid.norm", cause="norm_epsilon",
            evidence={"en": "1e-05 and 1e-06", "zh": "1e-05 与 1e-06"}, report="align/report.html",
        )  # fmt: skip
    ((asked, kernels),) = aligned
    assert kernels == "plain" and "JITTOR_DDIM_KERNELS" not in os.environ
    assert [path.name for path in asked.sides] == ["jittor_side.py", "pytorch_side.py"]
    assert all(path.is_file() for path in asked.sides) and asked.out == folder / "align"


def test_on_a_gpu_and_for_what_align_cannot_find_nothing_is_asked(request_, aligned, tmp_path):
    run_comparison(dataclasses.replace(request_, device="cuda"))
    assert not aligned


def test_a_side_that_fails_in_align_leaves_the_comparison_whole(
    request_, aligned, tmp_path, monkeypatch
):
    def fail(request):
        raise UserError("jittor_side.py: no answer in 3600 s")

    monkeypatch.setattr("jittor_ddim.jobs.align.run_alignment", fail)
    assert run_comparison(request_)["aligned"] is False
    assert not (tmp_path / "exp" / "comparisons" / "digits" / "located.json").exists()
