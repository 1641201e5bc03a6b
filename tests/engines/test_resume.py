"""The real command, stopped in every way, goes on as if nothing had happened."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from killing import ENVIRONMENT
from starting import needs

from jittor_ddim.checkpoints.native import list_checkpoints, load_checkpoint
from jittor_ddim.runs.metrics_log import read_metrics

pytestmark = pytest.mark.slow

STEPS = 12
#: The network of test_trainer.py, whose kernels Jittor has compiled.
OVERRIDES = {
    "model.ch": 32, "model.ch_mult": [1], "model.num_res_blocks": 1, "model.attn_resolutions": [],
    "model.dropout": 0.3, "data.random_flip": True, "optim.amsgrad": True,
    "training.batch_size": 4, "training.n_iters": STEPS, "training.snapshot_freq": 4,
    "training.validation_freq": 5, "training.loss_weight": "min_snr_gamma",
    "optim.warmup_steps": 3, "optim.decay": "cosine",
}  # fmt: skip

#: ddim, in a process that does something to itself once a step is recorded.
DDIM = """
import os, signal, sys
from killing import kill_once_saved
from jittor_ddim.cli import main
from jittor_ddim.runs.recorder import Recorder
def step(self, record, write=Recorder.step):
    write(self, record)
    if record["step"] == int(sys.argv[1]):
        exec(sys.argv[2])
Recorder.step = step
sys.exit(main(sys.argv[3:]))
"""
#: The shell stands between: Jittor in this process would take a killed child for an exhausted
#: memory, and end. It has a process group of its own, in which a test can play the terminal.
SHELL = ["sh", "-c", 'trap : INT; "$@"; exit $?', "sh"]

KILL = "kill_once_saved()"
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM)"
CTRL_C = "os.killpg(0, signal.SIGINT)"  # a terminal's goes to Jittor's compile workers too


def train(engine, exp, *arguments, step=0, action="", **overrides):
    """Return the exit code, stdout, and stderr; after stdout too where the command failed."""
    overrides = {**OVERRIDES, **overrides}
    command = [
        sys.executable, "-c", DDIM, str(step), action,
        "train", "--config", "digits.yml", "--doc", "d", "--device", "cpu", "--exp", str(exp),
        "--engine", engine,
        *(f"--set={key}={value}" for key, value in overrides.items()), *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        [*SHELL, *command],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=500, start_new_session=True,
        check=False,
    )  # fmt: skip
    failed = done.returncode not in (0, 130, 137, 143)  # a crash tells its stack on stdout
    return done.returncode, done.stdout, done.stderr + (done.stdout if failed else "")


@pytest.fixture(scope="module")
def unbroken(engine, tmp_path_factory):
    exp = tmp_path_factory.mktemp("unbroken")
    code, out, err = train(engine.name, exp)
    assert code == 0, err
    folder = exp / "logs" / "d"
    assert json.loads(out) == {"checkpoint": str(folder / f"ckpt_{STEPS}")}
    assert steps(folder) == [4, 8, 12]
    return folder


def steps(folder):
    return [int(path.name.removeprefix("ckpt_")) for path in list_checkpoints(folder)]


def fingerprints(folder):
    """Of weights, averages and optimiser in the last checkpoint."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in list_checkpoints(folder)[-1].glob("*.safetensors")
    }


def numbers(folder):
    keys = ("step", "epoch", "loss", "grad_norm", "lr", "validation_loss")
    return [{key: r.get(key) for key in keys} for r in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize(
    "action, code, saved",
    [(KILL, 137, [4]), (TERMINATE, 143, [4, 6]), (CTRL_C, 130, [4, 6])],
    ids=["kill -9", "SIGTERM", "Ctrl-C"],
)
def test_a_resumed_run_equals_the_unbroken_one_to_the_bit(
    engine, unbroken, tmp_path, action, code, saved
):
    folder = tmp_path / "logs" / "d"
    found, out, err = train(engine.name, tmp_path, step=6, action=action)
    assert (found, out) == (code, ""), err
    assert "Traceback" not in err and "Caught" not in err
    assert steps(folder) == saved
    assert len(numbers(folder)) == 6
    code, _, err = train(engine.name, tmp_path, "--resume_training")
    assert code == 0, err
    assert f"Resuming from step {saved[-1]}" in err
    assert numbers(folder) == numbers(unbroken)
    assert fingerprints(folder) == fingerprints(unbroken)


def test_a_second_run_is_the_same(engine, unbroken, tmp_path):
    """What the test above relies on: the kernels are deterministic."""
    code, _, err = train(engine.name, tmp_path)
    assert code == 0, err
    assert numbers(tmp_path / "logs" / "d") == numbers(unbroken)
    assert fingerprints(tmp_path / "logs" / "d") == fingerprints(unbroken)


@pytest.mark.jittor
@pytest.mark.parametrize("first, second", [("jittor", "pytorch"), ("pytorch", "jittor")])
def test_a_run_goes_on_in_the_other_engine(tmp_path, first, second):
    """Without dropout: weights, moments, average, step and the noise's position travel."""
    needs("jittor", "pytorch")
    no_dropout = {"model.dropout": 0.0}
    code, _, err = train(second, tmp_path / "whole", **no_dropout)
    assert code == 0, err
    code, _, err = train(first, tmp_path / "begun", step=6, action=TERMINATE, **no_dropout)
    assert code == 143, err
    code, _, err = train(second, tmp_path / "begun", "--resume_training", **no_dropout)
    assert code == 0, err
    assert f"Resuming from step 6 of a run in {first}" in err
    whole, mixed = (tmp_path / name / "logs" / "d" for name in ("whole", "begun"))
    for expected, found in zip(numbers(whole), numbers(mixed), strict=True):
        assert found["step"] == expected["step"]
        for key in ("loss", "grad_norm"):
            assert found[key] == pytest.approx(expected[key], rel=2e-5), found
    expected, found = load_checkpoint(whole), load_checkpoint(mixed)
    assert (found.step, found.epoch, found.seed) == (STEPS, expected.epoch, expected.seed)
    assert found.engine == second
    scales = {}
    for kind in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
        names = [name for name in expected.optimizer if name.startswith(f"{kind}/")]
        scales[kind] = max(np.abs(expected.optimizer[name]).max() for name in names)
        for name in names:
            error = np.abs(found.optimizer[name] - expected.optimizer[name]).max()
            assert error <= 1e-4 * scales[kind], name
    for name, value in expected.ema_weights.items():
        # Adam divides a gradient by its size: of one that passes through zero it makes steps out
        # of rounding, up to the learning rate of 2e-3. There are few such numbers, but for the
        # keys' bias: a softmax does not depend on it.
        error = np.abs(found.ema_weights[name] - value)
        assert error.max() <= 1e-4, name
        assert np.square(error).mean() ** 0.5 <= 2e-6 or name.endswith(".k.bias"), name
