"""Each launcher's variables tell which of its processes this is."""

import os

import pytest

from jittor_ddim.errors import UserError
from jittor_ddim.ranks import _LAUNCHERS, WORKERS, Rank, hide_launcher, this_rank


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for names in _LAUNCHERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


def test_a_process_that_nothing_started_is_alone():
    rank = this_rank()
    assert rank == Rank() and rank.is_first and rank.is_alone


@pytest.mark.parametrize("launcher", _LAUNCHERS)
def test_a_launcher_tells_the_rank(monkeypatch, launcher):
    for name, value in zip(_LAUNCHERS[launcher], "3512", strict=True):
        monkeypatch.setenv(name, value)
    assert this_rank() == Rank(3, 5, 1, launcher, 2)


def test_the_script_of_a_slurm_job_is_not_one_of_its_tasks(monkeypatch):
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert this_rank().is_alone


def _set(monkeypatch, launcher, told):
    for name, value in zip(_LAUNCHERS[launcher], told, strict=False):
        monkeypatch.setenv(name, value)


def test_sruns_pmi2_is_not_mpiexec(monkeypatch):
    _set(monkeypatch, "srun", "3512")
    _set(monkeypatch, "mpiexec", "35")
    assert this_rank() == Rank(3, 5, 1, "srun", 2)


@pytest.mark.parametrize("helper", ["0112", "3412"])
def test_mpiexecs_ranks_are_not_the_helpers_that_srun_started_for_it(monkeypatch, helper):
    _set(monkeypatch, "srun", helper)
    _set(monkeypatch, "mpiexec", "3512")
    assert this_rank() == Rank(3, 5, 1, "mpiexec", 2)


@pytest.mark.parametrize(("node", "tasks"), [("0", 3), ("1", 2), ("2", 2), ("3", 1)])
def test_slurm_may_start_fewer_tasks_on_one_machine(monkeypatch, node, tasks):
    told = ("0", "8", "0", "3,2(x2),1")
    for name, value in zip(_LAUNCHERS["srun"], told, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NODEID", node)
    assert this_rank().local_size == tasks


@pytest.mark.parametrize(("index", "size"), [("4", "4"), ("-1", "2"), ("x", "2"), ("0", "0")])
def test_variables_that_contradict_each_other_are_named(monkeypatch, index, size):
    monkeypatch.setenv("RANK", index)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UserError, match=f"RANK={index}, WORLD_SIZE={size}.*torchrun"):
        this_rank()


@pytest.mark.parametrize("count", [0, 1, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_shares_are_even_and_leave_nothing_out(count, size):
    shares = [Rank(index, size).share(count) for index in range(size)]
    assert [piece for share in shares for piece in share] == list(range(count))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_a_rank_outlives_its_launchers_variables(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name, value in zip(_LAUNCHERS["mpirun"], "3512", strict=True):
        os.environ[name] = value
    hide_launcher(this_rank())
    rank = this_rank()
    assert rank == Rank(3, 5, 1, WORKERS, 2)
    assert not any(name in os.environ for name in _LAUNCHERS["mpirun"])
