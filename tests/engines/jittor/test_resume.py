"""The real command, stopped in every way, goes on as if nothing had happened."""

import hashlib
import json
import subprocess
import sys

import pytest
from killing import ENVIRONMENT

from jittor_ddim.checkpoints.native import list_checkpoints
from jittor_ddim.report.metrics_log import read_metrics

pytestmark = [pytest.mark.jittor, pytest.mark.slow]

STEPS = 12
#: The network of test_trainer.py, whose kernels Jittor has compiled.
OVERRIDES = {
    "model.ch": 32, "model.ch_mult": [1], "model.num_res_blocks": 1, "model.attn_resolutions": [],
    "model.dropout": 0.3, "data.random_flip": True, "optim.amsgrad": True,
    "training.batch_size": 4, "training.n_iters": STEPS, "training.snapshot_freq": 4,
    "training.validation_freq": 5,
}  # fmt: skip

#: ddim, in a process that does something to itself once a step is recorded.
DDIM = """
import os, signal, sys
from jittor_ddim.cli import main
from jittor_ddim.report.recorder import Recorder
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

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM)"
CTRL_C = "os.killpg(0, signal.SIGINT)"  # a terminal's goes to Jittor's compile workers too


def train(exp, *arguments, step=0, action=""):
    """Return the exit code and what was printed."""
    command = [
        sys.executable, "-c", DDIM, str(step), action,
        "train", "--config", "digits.yml", "--doc", "d", "--device", "cpu", "--exp", str(exp),
        *(f"--set={key}={value}" for key, value in OVERRIDES.items()), *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        [*SHELL, *command],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=500, start_new_session=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def unbroken(jittor_engine, tmp_path_factory):
    exp = tmp_path_factory.mktemp("unbroken")
    code, out, err = train(exp)
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
    keys = ("step", "epoch", "loss", "grad_norm", "validation_loss")
    return [{key: r.get(key) for key in keys} for r in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize(
    "action, code, saved",
    [(KILL, 137, [4]), (TERMINATE, 143, [4, 6]), (CTRL_C, 130, [4, 6])],
    ids=["kill -9", "SIGTERM", "Ctrl-C"],
)
def test_a_resumed_run_equals_the_unbroken_one_to_the_bit(unbroken, tmp_path, action, code, saved):
    folder = tmp_path / "logs" / "d"
    found, out, err = train(tmp_path, step=6, action=action)
    assert (found, out) == (code, ""), err
    assert "Traceback" not in err and "Caught" not in err
    assert steps(folder) == saved
    assert len(numbers(folder)) == 6
    code, _, err = train(tmp_path, "--resume_training")
    assert code == 0, err
    assert f"Resuming from step {saved[-1]}" in err
    assert numbers(folder) == numbers(unbroken)
    assert fingerprints(folder) == fingerprints(unbroken)


def test_a_second_run_is_the_same(unbroken, tmp_path):
    """What the test above relies on: the kernels are deterministic."""
    code, _, err = train(tmp_path)
    assert code == 0, err
    assert numbers(tmp_path / "logs" / "d") == numbers(unbroken)
    assert fingerprints(tmp_path / "logs" / "d") == fingerprints(unbroken)
