"""Trainings of seconds with a fault, by the engines themselves."""

from contextlib import suppress

import faulty_runs
import pytest
from fake_engine import FakeEngine
from starting import start_engine

from jittor_ddim import diagnose, load_config
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.errors import DivergedError
from jittor_ddim.jobs.train import TrainRequest, run_training

TINY = {
    "model.ch": 16, "model.ch_mult": [1], "model.num_groups": 4, "training.batch_size": 16,
    "training.n_iters": 40, "training.snapshot_freq": 40, "training.validation_freq": 20,
}  # fmt: skip


@pytest.fixture
def trained(monkeypatch, restored_logging, tmp_path):
    """Train by an engine, and return the causes of what is found."""

    def train(engine, resume=False, **overrides):
        monkeypatch.setattr(engine_choice, "load_engine", lambda *_: engine)
        config = load_config("digits.yml", TINY | overrides)
        with suppress(DivergedError):
            run_training(TrainRequest(config, tmp_path, "d", resume=resume, verbose="critical"))
        return [finding.cause for finding in diagnose(tmp_path / "logs" / "d")]

    return train


@pytest.mark.pytorch
@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        ({"optim.lr": 1.0}, "diverged"),
        ({"optim.optimizer": "SGD", "optim.lr": 0.1, "optim.grad_clip": None}, "diverged"),
        ({"optim.lr": 1e-6}, "hardly_moved"),
        ({"optim.grad_clip": 1e-8}, "stifled"),
        ({"model.ema_rate": 0.9999, "model.ema_warmup": False}, "young_average"),
        ({}, "too_few_steps"),
    ],
)
def test_a_training_is_diagnosed(overrides, cause, trained):
    assert trained(start_engine("pytorch"), **overrides)[0] == cause


def test_a_run_resumed_with_other_images(trained, tmp_path):
    trained(FakeEngine(), **{"optim.lr": 1e-6})
    longer = {"training.n_iters": 120, "optim.lr": 1e-6}
    assert "other_images" not in trained(FakeEngine(), resume=True, **longer)
    others = {
        "data.dataset": "FOLDER",
        "data.root": str(faulty_runs.images(tmp_path / "others")),
        "training.n_iters": 180,
    }
    assert "other_images" in trained(FakeEngine(), resume=True, **longer | others)
