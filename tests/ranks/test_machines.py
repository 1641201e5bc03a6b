"""Several machines train one network; one that is cut off takes nothing with it."""

import math
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.config import load_config
from jittor_ddim.runs.metrics_log import read_metrics
from ranks.launching import command, config, environment, losses, run
from ranks.machines import cut_off, delay, limit, long_cable, machines, name, on

pytestmark = [pytest.mark.pytorch, pytest.mark.slow]


def start(machine, path, doc, *options, program="jittor_ddim", of=2):
    """Start torchrun on one of some machines, with the line of docs/scaling.md."""
    rendezvous = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"{name(1)}:29400"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(of), *rendezvous]
    ddim = command("pytorch", 1, path, doc, *options)[3:]
    return subprocess.Popen(
        on(machine, [*torchrun, "--rdzv_id", doc, "-m", program, *ddim]), env=environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for_steps(count, tmp_path, *launchers):
    """Wait until a run has taken so many steps more."""
    metrics, deadline = tmp_path / "exp/logs/run/metrics.jsonl", time.monotonic() + 240
    last = metrics.read_text().count("\n") if metrics.exists() else 0
    while not (metrics.exists() and metrics.read_text().count("\n") >= last + count):
        for launcher in launchers:
            assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def running(path, *options, on_machines):
    """Let machines train without an end meanwhile; a failing test does not leave them at it."""
    launchers = [start(m, path, "run", *options, of=len(on_machines)) for m in on_machines]
    try:
        yield launchers
    finally:
        for launcher in launchers:
            launcher.terminate()
        for launcher in launchers:
            try:
                launcher.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.communicate()


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


def reduced_in(tmp_path):
    """Return how long averaging the gradients took, at best in the last three steps."""
    records = list(read_metrics(tmp_path / "exp/logs/run/metrics.jsonl"))[-3:]
    return min(record["reduce_time_s_min"] for record in records)


def test_two_machines_lose_what_one_process_loses(tmp_path):
    path = config(tmp_path, n_iters=8)
    with machines(2):
        launchers = [start(machine, path, "two") for machine in (1, 2)]
        for launcher in launchers:
            said = launcher.communicate(timeout=300)[0]
            assert launcher.returncode == 0, said
    run(command("pytorch", 1, path, "one"))
    assert losses(path, "two") == pytest.approx(losses(path, "one"), rel=1e-5)


def test_machines_go_on_after_a_rank_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("PET_MAX_RESTARTS", "1")  # torchrun's --max_restarts
    path = config(tmp_path, n_iters=10, snapshot_freq=3)
    with machines(2):
        launchers = [
            start(machine, path, "run", program="ranks.killed_once") for machine in (1, 2)
        ]
        try:
            said = [launcher.communicate(timeout=500)[0] for launcher in launchers]
        finally:
            for launcher in launchers:
                launcher.kill()
        assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert "Resuming from step" in "".join(said)
    assert len(losses(path, "run")) == 10


def test_a_machine_that_is_cut_off_takes_nothing_with_it(tmp_path):
    path = config(tmp_path, n_iters=100000, snapshot_freq=3)
    with machines(2):
        launchers = [start(machine, path, "run", program="ranks.impatient") for machine in (1, 2)]
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
    with machines(2), running(path, on_machines=(1, 2)) as launchers:
        for mbit in (8, 4, 2):
            for machine in (1, 2):
                limit(machine, mbit)
            wait_for_steps(2, tmp_path, *launchers)  # begun before, or with a full bucket
            wait_for_steps(3, tmp_path, *launchers)
            took[mbit] = reduced_in(tmp_path)
    for mbit, seconds in took.items():
        # Headers take 5 % of the link, and the machine's cores are few.
        assert 1 <= seconds / (8 * sent / (mbit * 1e6)) < 1.5, (mbit, took)


@pytest.mark.parametrize("count", [2, 3])
def test_gradients_wait_for_four_latencies_for_each_other_machine(count, tmp_path):
    """The formula's other part for gloo's ring, with 45 KB, which TCP sends without waiting."""
    path, took = config(tmp_path, n_iters=100000), {}
    narrow = ["--set", "model.ch=8", "--set", "model.num_groups=4"]
    every = range(1, count + 1)
    with machines(count), ExitStack() as plugged:
        cables = [plugged.enter_context(long_cable(machine)) for machine in every]
        launchers = plugged.enter_context(running(path, *narrow, on_machines=every))
        for latency in (0.02, 0.05, 0.1):
            for cable in cables:
                delay(cable, latency / 2)  # a frame passes two
            wait_for_steps(4, tmp_path, *launchers)  # the first ones wait for TCP's window to open
            wait_for_steps(3, tmp_path, *launchers)
            took[latency] = reduced_in(tmp_path)
    for latency, seconds in took.items():
        least = 4 * (count - 1) * latency
        assert least <= seconds < 1.1 * least + 0.1, took
