"""What a run's own log says; the training itself has its tests in tests/test_training.py."""

import warnings

import pytest

from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.cli.main import main
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.runs.folder import Run


@pytest.mark.parametrize(("seed", "warned"), [(99, True), (None, False), (1234, False)])
def test_a_seed_that_resuming_ignores_is_warned_of(exp, config, seed, warned):
    more = config.model_copy(update={"training": config.training.model_copy(
        update={"n_iters": 3})})  # fmt: skip
    run_training(TrainRequest(more, exp, "d", seed=seed, resume=True, verbose="critical"))
    text = Run.at(exp, "d").stdout_path.read_text(encoding="utf-8")
    line = "--seed 99 is ignored: a resumed run keeps its own, 1234"
    assert (line in text) == warned


@pytest.mark.parametrize(("precision", "warned"), [("bfloat16", True), ("float32", False)])
def test_a_precision_that_changes_on_resuming_is_warned_of(exp, config, engine, precision, warned):
    engine.precision = precision
    changes = {"training": config.training.model_copy(update={"n_iters": 3})}
    more = config.model_copy(update=changes)
    run_training(TrainRequest(more, exp, "d", resume=True, verbose="critical"))
    text = Run.at(exp, "d").stdout_path.read_text(encoding="utf-8")
    line = "Until here the run computed in float32, from here in bfloat16; --precision chooses"
    assert (line in text) == warned
    assert load_checkpoint(exp / "logs" / "d").precision == precision


def test_the_log_holds_what_was_warned_of_before_it_was_there(exp, restored_process):
    line = f"train --exp {exp} --doc d --resume_training --seed 99 --verbose error --set "
    changes = ["training.n_iters=1e1", "model.var_type=fixedsmall"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*line.split(), changes[0], "--set", changes[1]]) == 0
    text = Run.at(exp, "d").stdout_path.read_text(encoding="utf-8")
    warned = [line for line in text.splitlines() if line.startswith("WARNING - ")]
    for part in ("model.var_type: accepted", "another config: training.n_iters", "--seed 99"):
        assert sum(part in line for line in warned) == 1
