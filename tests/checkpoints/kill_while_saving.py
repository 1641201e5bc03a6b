"""Saves checkpoints and is killed at every instant; test_native.py runs it as a process."""

import shutil
import sys
from pathlib import Path

import numpy as np
from killing import finishes

from jittor_ddim.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from jittor_ddim.config import parse_config

CONFIG = parse_config({"data": {"dataset": "DIGITS", "image_size": 32}}, "test")


def make_checkpoint(step: int, size: int = 5) -> Checkpoint:
    """A small checkpoint whose arrays tell its step."""
    weights = {"conv_in.bias": np.arange(size, dtype=np.float32) + step}
    return Checkpoint(
        step=step,
        epoch=step // 7,
        seed=2**63 + 5,
        config=CONFIG,
        weights=weights,
        ema_weights={name: value / 2 for name, value in weights.items()},
        optimizer={
            "exp_avg/conv_in.bias": weights["conv_in.bias"] * 3,
            "step": np.array(step, np.int64),
        },
        engine="jittor",
        versions={"jittor": "1.3.11.0"},
    )


def _finishes(start: Path, folder: Path, step: int, instant: int) -> bool:
    """Kill a save at one instant, and check what it left; return whether it was done before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder)
    checkpoint = make_checkpoint(step)
    finished = finishes(lambda: save_checkpoint(folder, checkpoint, keep_last=1), instant)
    found = load_checkpoint(folder)
    assert found.step in (20, step), f"instant {instant}: {found.step}"
    assert found.weights["conv_in.bias"][0] == found.step, f"instant {instant}"
    save_checkpoint(folder, make_checkpoint(30), keep_last=1)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["ckpt_20", "ckpt_30"], f"instant {instant}: {names}"
    assert load_checkpoint(folder).step == 30
    return finished


def main(scratch: Path) -> None:
    """Print for each step saved how many instants a save has."""
    start = scratch / "start"
    start.mkdir()
    for step in (10, 20):
        save_checkpoint(start, make_checkpoint(step), keep_last=1)
    for step in (20, 30):  # replaces an existing checkpoint; adds one and deletes an old one
        instant = 0
        while not _finishes(start, scratch / "run", step, instant):
            instant += 1
        print(step, instant)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
