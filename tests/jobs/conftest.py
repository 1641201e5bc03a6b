"""A trained run, and an engine in NumPy for the jobs that sample from it."""

import pytest
from fake_engine import FakeEngine

from jittor_ddim.config import parse_config
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.jobs.train import TrainRequest, run_training

CONFIG = parse_config(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
            "num_res_blocks": 1,
            "attn_resolutions": [],
        },
        "diffusion": {"num_diffusion_timesteps": 100, "beta_end": 0.1},
        "training": {"batch_size": 4, "n_iters": 2, "snapshot_freq": 1},
        "sampling": {"batch_size": 4, "num_samples": 6},
        "optim": {"lr": 1e-3},
    },
    "jobs",
)  # fmt: skip


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture
def engine(monkeypatch, restored_logging):
    """The engine that every job of a test gets; `engine.starts` counts them."""
    engine = FakeEngine()
    engine.starts = 0

    def load(*choice):
        engine.starts += 1
        return engine

    monkeypatch.setattr(engine_choice, "load_engine", load)
    return engine


@pytest.fixture
def exp(engine, tmp_path):
    """An experiment with one run, `d`, of two steps, each saved."""
    run_training(TrainRequest(CONFIG, tmp_path, "d", verbose="critical"))
    engine.starts = 0
    engine.calls.clear()
    return tmp_path
