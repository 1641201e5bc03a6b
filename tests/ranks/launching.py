"""Trains a small network in several processes, started as a user starts them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jittor_ddim.runs.metrics_log import read_metrics

ENGINES = [
    pytest.param("pytorch", marks=pytest.mark.pytorch),
    pytest.param("jittor", marks=pytest.mark.jittor),
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node"]
DDIM = ["-m", "jittor_ddim", "train"]


def config(folder: Path, **training: Any) -> Path:
    """Write a config whose network takes milliseconds a step, with dropout."""
    tree = {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1, "random_flip": True},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
            "num_res_blocks": 1, "attn_resolutions": [8], "dropout": 0.2, "ema_rate": 0.9,
        },
        "optim": {"grad_clip": 1.0},
        "training": {
            "batch_size": 24, "n_iters": 20, "snapshot_freq": 1000, "validation_freq": 1000,
            **training,
        },
    }  # fmt: skip
    path = folder / f"{'-'.join(f'{k}{v}' for k, v in training.items()) or 'plain'}.yml"
    path.write_text(yaml.safe_dump(tree))
    return path


def command(engine: str, ranks: int, path: Path, doc: str, *options: str) -> list[str]:
    """Return a training's command line; one rank has no launcher."""
    start = [sys.executable]
    if ranks > 1 and engine == "pytorch":
        start = [*TORCHRUN, str(ranks)]
    elif ranks > 1:
        if not (
            shutil.which("mpirun") and (os.environ.get("mpicc_path") or shutil.which("mpicc"))
        ):
            pytest.skip("no mpirun or mpicc: apt-get install openmpi-bin libopenmpi-dev")
        start = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(ranks), *start]
    exp = ["--exp", str(path.parent / "exp"), "--config", str(path), "--doc", doc]
    return [*start, *DDIM, "--engine", engine, "--device", "cpu", "--ni", *exp, *options]


def tasks(*commands: list[str]) -> list[subprocess.Popen[str]]:
    """Start a rank for each command, as srun would, but nobody who ends the others with one."""
    return [
        subprocess.Popen(
            line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment() | {
                "SLURM_PROCID": str(index), "SLURM_STEP_NUM_TASKS": str(len(commands)),
                "SLURM_LOCALID": str(index), "SLURM_STEP_TASKS_PER_NODE": str(len(commands)),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29631",
            },
        )
        for index, line in enumerate(commands)
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Give every rank one thread: the tests' machine has fewer cores than ranks."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def run(arguments: list[str], code: int = 0, seconds: float = 300) -> str:
    """Run a command to its end and return what it printed, both streams."""
    done = subprocess.run(
        arguments, env=environment(), text=True, timeout=seconds, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-4000:]
    return done.stdout


def losses(path: Path, doc: str) -> list[float]:
    """Return the losses of a run's steps."""
    return [record["loss"] for record in _records(path, doc)]


def last_record(path: Path, doc: str) -> dict[str, Any]:
    """Return the figures of a run's last step."""
    return list(_records(path, doc))[-1]


def _records(path: Path, doc: str) -> Iterator[dict[str, Any]]:
    return read_metrics(path.parent / "exp" / "logs" / doc / "metrics.jsonl")
