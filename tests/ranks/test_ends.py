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
from ranks.launching import ENGINES, command, config, environment, losses, run, tasks


def started(
    tmp_path: Path, path: Path, engine: str, *options: str
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start an endless training in two ranks; return the launcher and the ranks, after steps."""
    launcher = subprocess.Popen(
        command(engine, 2, path, "run", *options), env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        # The snapshot of step 6 waits until that of step 3 is whole, on the slowest disk.
        wait_for_steps(tmp_path, launcher, 7)
        ranks = [p for p in psutil.Process(launcher.pid).children() if "train" in p.cmdline()]
        assert len(ranks) == 2
    except BaseException:
        launcher.terminate()  # which ends the ranks
        raise
    return launcher, ranks


def wait_for_steps(tmp_path: Path, process: subprocess.Popen[str], count: int = 6) -> None:
    """Wait until a run has taken so many steps more."""
    metrics, deadline = tmp_path / "exp/logs/run/metrics.jsonl", time.monotonic() + 240
    last = metrics.read_text().count("\n") if metrics.exists() else 0
    while not (metrics.exists() and metrics.read_text().count("\n") >= last + count):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def end_of(launcher: subprocess.Popen[str], ranks: list[psutil.Process]) -> str:
    """Return what was printed by a launcher whose ranks end within 30 s, and then it does."""
    try:
        assert not psutil.wait_procs(ranks, timeout=30)[1]
        return launcher.communicate(timeout=120)[0]  # its own end takes a busy machine long
    finally:
        launcher.kill()


@pytest.mark.pytorch
def test_a_signal_to_any_rank_saves_once_and_ends_all(tmp_path):
    path = config(tmp_path, n_iters=100000)
    launcher, ranks = started(tmp_path, path, "pytorch")
    os.kill(random.choice(ranks).pid, signal.SIGTERM)
    said = end_of(launcher, ranks)
    assert said.count("stopped at step") == 1
    folder = tmp_path / "exp/logs/run"
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert load_checkpoint(folder).step == last
    assert len(list(folder.glob("ckpt_*"))) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_rank_ends_the_others_and_is_named(tmp_path, engine):
    path, resuming = config(tmp_path, n_iters=100000, snapshot_freq=3), "--resume_training"
    for kill in range(int(os.environ.get("DDIM_KILLS", "1"))):
        launcher, ranks = started(tmp_path, path, engine, *([resuming] if kill else []))
        victim = random.choice(ranks)
        index = victim.environ().get("OMPI_COMM_WORLD_RANK")
        victim.kill()
        said = end_of(launcher, ranks)
        assert (f"process rank {index} " if index else f"(pid: {victim.pid})") in said
        assert "SIGKILL" in said or "signal 9" in said
        saved = load_checkpoint(tmp_path / "exp/logs/run").step
        assert saved % 3 == 0
        print(f"kill {kill + 1}: goes on from step {saved}")
    run(command(engine, 2, config(tmp_path, n_iters=saved + 2), "run", resuming))
    assert len(losses(path, "run")) == saved + 2


@pytest.mark.pytorch
def test_what_torchrun_starts_again_goes_on_to_the_end(tmp_path):
    """Its store is that of the first attempt, with the addresses of ranks that have ended."""
    # The snapshot of step 6 waits until that of step 3 is whole, which may be the last one then.
    path = config(tmp_path, n_iters=10, snapshot_freq=3)
    line = command("pytorch", 2, path, "run")
    place = line.index("--nproc_per_node")
    line[place:place] = ["--max_restarts", "1"]
    line[line.index("jittor_ddim")] = "ranks.killed_once"
    said = run(line, seconds=500)  # two starts
    assert "exitcode: -9" in said
    assert "Resuming from step" in said
    assert len(losses(path, "run")) == 10


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


@pytest.mark.pytorch
def test_nor_where_the_run_diverges(tmp_path):
    path = config(tmp_path, n_iters=100000, snapshot_freq=1)
    line = command("pytorch", 1, path, "run")
    place = line.index("jittor_ddim")
    line[place : place + 1] = ["ranks.slow_to_save", "diverging"]
    first, second = tasks(line, line)
    with first, second:
        try:
            assert second.wait(120) == 1
            good = load_checkpoint(tmp_path / "exp/logs/run")
            assert good.step == 1
            said = first.communicate(timeout=30)[0]
            assert f"the last good checkpoint is {tmp_path}/exp/logs/run/ckpt_1" in said
        finally:
            first.kill()
            second.kill()
