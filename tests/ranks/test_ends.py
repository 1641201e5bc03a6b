"""However a rank ends, the others end with it, and what was saved stays whole."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from jittor_ddim.checkpoints.native import load_checkpoint
from ranks.launching import ENGINES, command, config, environment, run, tasks


def started(tmp_path: Path, path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start an endless training in two ranks; return torchrun and the ranks, after a step."""
    launcher = subprocess.Popen(
        command("pytorch", 2, path, "run"), env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for_steps(tmp_path, launcher)
    ranks = [p for p in psutil.Process(launcher.pid).children() if "train" in p.cmdline()]
    assert len(ranks) == 2
    return launcher, ranks


def wait_for_steps(tmp_path: Path, process: subprocess.Popen[str], count: int = 6) -> None:
    """Wait until a run has taken so many steps more."""
    metrics, deadline = tmp_path / "exp/logs/run/metrics.jsonl", time.monotonic() + 240
    last = metrics.read_text().count("\n") if metrics.exists() else 0
    while not (metrics.exists() and metrics.read_text().count("\n") >= last + count):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def end_of(launcher: subprocess.Popen[str]) -> str:
    """Return what was printed by a launcher that ends within 30 s, and whose ranks do."""
    try:
        return launcher.communicate(timeout=30)[0]
    finally:
        launcher.kill()


@pytest.mark.pytorch
def test_a_signal_to_any_rank_saves_once_and_ends_all(tmp_path):
    path = config(tmp_path, n_iters=100000)
    launcher, ranks = started(tmp_path, path)
    os.kill(random.choice(ranks).pid, signal.SIGTERM)
    said = end_of(launcher)
    assert said.count("stopped at step") == 1
    folder = tmp_path / "exp/logs/run"
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert load_checkpoint(folder).step == last
    assert len(list(folder.glob("ckpt_*"))) == 1


@pytest.mark.pytorch
@pytest.mark.parametrize("_", range(int(os.environ.get("DDIM_KILLS", "1"))))
def test_a_killed_rank_ends_the_others_and_is_named(tmp_path, _):
    path = config(tmp_path, n_iters=100000, snapshot_freq=3)
    launcher, ranks = started(tmp_path, path)
    victim = random.choice(ranks)
    victim.kill()
    said = end_of(launcher)
    assert f"(pid: {victim.pid})" in said
    assert "SIGKILL" in said or "-9" in said
    assert not any(rank.is_running() for rank in ranks)
    assert load_checkpoint(tmp_path / "exp/logs/run").step % 3 == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rank_that_fails_ends_the_others(tmp_path, engine):
    line = command(engine, 2, config(tmp_path, n_iters=100000), "run")
    line[line.index("jittor_ddim")] = "ranks.one_fails"
    assert "rank 1: error: no memory left" in run(line, code=1)


@pytest.mark.pytorch
def test_no_rank_ends_before_the_first_has_saved(tmp_path):
    """`srun --kill-on-bad-exit` would end the first one then."""
    path = config(tmp_path, n_iters=100000)
    line = command("pytorch", 1, path, "run")
    line[line.index("jittor_ddim")] = "ranks.slow_to_save"
    first, second = tasks(line, line)
    with first, second:
        try:
            wait_for_steps(tmp_path, first)
            second.send_signal(signal.SIGUSR1)
            assert second.wait(60) == 128 + signal.SIGUSR1
            assert load_checkpoint(tmp_path / "exp/logs/run")
            assert first.communicate(timeout=30)[0].count("stopped at step") == 1
        finally:
            first.kill()
            second.kill()
