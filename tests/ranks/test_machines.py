"""Several machines train one network; one that is cut off takes nothing with it."""

import math
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.config import load_config
from jittor_ddim.runs.metrics_log import read_metrics
from ranks.launching import command, config, environment, losses, run
from ranks.machines import cut_off, limit, machines, name, on

pytestmark = [pytest.mark.pytorch, pytest.mark.slow]


def start(machine, path, doc, program="jittor_ddim"):
    """Start torchrun on one of two machines, with the line of docs/scaling.md."""
    rendezvous = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"{name(1)}:29400"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", *rendezvous]
    ddim = command("pytorch", 1, path, doc)[3:]
    return subprocess.Popen(
        on(machine, [*torchrun, "--rdzv_id", doc, "-m", program, *ddim]), env=environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for_steps(count, tmp_path, launcher):
    """Wait until a run has taken so many steps more."""
    metrics, deadline = tmp_path / "exp/logs/run/metrics.jsonl", time.monotonic() + 240
    last = metrics.read_text().count("\n") if metrics.exists() else 0
    while not (metrics.exists() and metrics.read_text().count("\n") >= last + count):
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ranks_of(launcher):
    """Return the one rank that a torchrun has on its machine."""
    ranks = [p for p in psutil.Process(launcher.pid).children() if "train" in p.cmdline()]
    assert len(ranks) == 1
    return ranks


def wait_for_end(ranks):
    """Wait until all have ended, though nobody may have fetched their exit codes."""
    deadline = time.monotonic() + 90
    for rank in ranks:
        with suppress(psutil.NoSuchProcess):
            while rank.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, rank
                time.sleep(0.2)


def test_two_machines_lose_what_one_process_loses(tmp_path):
    path = config(tmp_path, n_iters=8)
    with machines(2):
        launchers = [start(machine, path, "two") for machine in (1, 2)]
        for launcher in launchers:
            said = launcher.communicate(timeout=300)[0]
            assert launcher.returncode == 0, said
    run(command("pytorch", 1, path, "one"))
    assert losses(path, "two") == pytest.approx(losses(path, "one"), rel=1e-5)


def test_a_machine_that_is_cut_off_takes_nothing_with_it(tmp_path):
    path = config(tmp_path, n_iters=100000, snapshot_freq=3)
    with machines(2):
        launchers = [start(machine, path, "run", "ranks.impatient") for machine in (1, 2)]
        wait_for_steps(6, tmp_path, launchers[0])
        ranks = [rank for launcher in launchers for rank in ranks_of(launcher)]
        cut_off(2)
        try:
            wait_for_end(ranks)
            said = launchers[0].communicate(timeout=60)[0]
        finally:
            for launcher in launchers:  # the other one waits for the first for minutes
                launcher.kill()
                launcher.wait()
                launcher.stdout.close()
    assert "another rank of this run has ended" in said
    assert load_checkpoint(tmp_path / "exp/logs/run").step % 3 == 0


def test_gradients_take_their_bytes_over_the_links_speed(tmp_path):
    """The formula of docs/scaling.md; for two ranks it is M / B, plus two latencies."""
    path, took = config(tmp_path, n_iters=100000), {}
    shapes = parameter_shapes(load_config(path)).values()
    sent = 4 * sum(math.prod(shape) for shape in shapes)
    with machines(2):
        launchers = [start(machine, path, "run") for machine in (1, 2)]
        for mbit in (8, 4, 2):
            for machine in (1, 2):
                limit(machine, mbit)
            wait_for_steps(2, tmp_path, launchers[0])  # begun before, or with a full bucket
            wait_for_steps(3, tmp_path, launchers[0])
            records = list(read_metrics(tmp_path / "exp/logs/run/metrics.jsonl"))[-3:]
            took[mbit] = min(record["reduce_time_s_min"] for record in records)
        for launcher in launchers:
            launcher.terminate()
        for launcher in launchers:
            launcher.communicate(timeout=120)
    for mbit, seconds in took.items():
        # Headers take 5 % of the link, and the machine's cores are few.
        assert 1 <= seconds / (8 * sent / (mbit * 1e6)) < 1.5, (mbit, took)
