"""Comparisons with the engine of fake_engine.py on both sides, each in a process of its own."""

import json
import os
import sys
from pathlib import Path

import pytest
from killing import ENVIRONMENT

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.compare.layout import START
from jittor_ddim.compare.plan import PLACE, Plan
from jittor_ddim.config import Config, parse_config
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.runs.folder import Run

#: The network of engines/test_trainer.py.
CONFIG = parse_config(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
            "num_res_blocks": 1,
            "attn_resolutions": [], "dropout": 0.0,
        },
        "training": {"batch_size": 4},
        "optim": {"lr": 1e-4},
    },
    "comparing",
)  # fmt: skip
PLAN = Plan(
    title="digits.yml", config=CONFIG, data="digits", seed=7, steps=12, timesteps=5, images=6,
    batch_sizes=(2, 4), weights="fresh", device="cpu", precision="float32",
)  # fmt: skip
UNHARMED = ("", "none", -1)
_SCRIPT = Path(__file__).with_name("compare_worker_with_fake_engine.py")


def prepare(folder: Path, plan: Plan = PLAN) -> Path:
    PLACE.claim(folder, plan)
    save_weights(folder / START, fresh_weights(plan.config, plan.seed), plan.config)
    return folder


def make_run(exp: Path, doc: str, seconds=0.5, steps=8, batch_size=4, **columns) -> Path:
    """A run with a log and no checkpoint."""
    training = CONFIG.training.model_copy(update={"batch_size": batch_size})
    config: Config = CONFIG.model_copy(update={"training": training})
    run = Run.at(exp, doc)
    run.create(config, resume=False)
    records = [
        {"step": k, "loss": 9.0 / k, "grad_norm": 1.0, "step_time_s": seconds, "data_time_s": 0.0,
         "host_memory_mb": 100.0 + k, "cpu_utilization": 10.0 * k} | columns
        for k in range(1, steps + 1)
    ]  # fmt: skip
    run.metrics_path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return run.log_folder


def command(record: Path, where=UNHARMED, harm: str = "") -> list[str]:
    """What starts a worker that notes its tasks, and comes to harm before one of them."""
    return [sys.executable, str(_SCRIPT), str(record), json.dumps(where), harm]


@pytest.fixture(scope="module")
def found_modules():
    """Let the processes that a worker's parent starts find the tests' own modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", ENVIRONMENT["PYTHONPATH"].split(os.pathsep))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield
