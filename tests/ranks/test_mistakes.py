"""A mistake is said once, nobody waits for the others, and the code of every rank is 2."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import yaml

from jittor_ddim.config import load_config
from jittor_ddim.data.loader import rows_of
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.engines.environment import take_share
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.errors import ConfigError, EngineError
from jittor_ddim.jobs.train import _look_at
from jittor_ddim.ranks import WORKERS, Rank, is_restartable
from jittor_ddim.training import Images
from jittor_ddim.version import code_digest
from ranks.launching import command, config, run, tasks


def test_sizes_that_the_ranks_divide_are_named(tmp_path):
    wrong = load_config(config(tmp_path, batch_size=25, accumulate_steps=2))
    with pytest.raises(ConfigError, match=r"\(25\).*\(3\).*accumulate_steps \(2\): 24 or 30"):
        rows_of(wrong, 0, 3)
    with pytest.raises(ConfigError, match=": 32 would do"):
        rows_of(wrong, 0, 16)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_every_micro_batch(tmp_path, ranks):
    shared = load_config(config(tmp_path, accumulate_steps=3))
    parts = [
        [
            rows_of(shared, rank, ranks)[part * 24 // 3 // ranks :][: 24 // 3 // ranks]
            for part in range(3)
        ]
        for rank in range(ranks)
    ]
    for part in range(3):
        assert sum((list(own[part]) for own in parts), []) == list(range(8 * part, 8 * part + 8))


@pytest.mark.parametrize(
    ("engine", "launcher", "instead"),
    [
        ("pytorch", "mpirun", "torchrun --nproc_per_node N -m"),
        ("jittor", "torchrun", "mpirun -np N"),
    ],
)
def test_the_other_engines_launcher_is_refused(engine, launcher, instead):
    EngineChoice(engine).check_launcher(Rank())
    with pytest.raises(EngineError, match=f"{launcher} does not start.*{instead}"):
        EngineChoice(engine).check_launcher(Rank(0, 2, 0, launcher))


def test_ranks_share_the_cores_of_their_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for given, threads in (("1", "4"), ("3", "3")):  # 1 is what torchrun sets by itself
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        take_share(Rank(0, 2, 0, "torchrun", 2), "cpu")
        assert os.environ["OMP_NUM_THREADS"] == threads


def test_each_rank_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(EngineError, match="4 ranks on a machine with 2 GPUs"):
        take_share(Rank(0, 4, 0, "torchrun", 4), "auto")  # the first tells it too
    take_share(Rank(3, 4, 3, "torchrun", 4), "cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    take_share(Rank(1, 2, 1, "torchrun", 2), "auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def _start_by_mpirun(monkeypatch, ranks, mpicc, *lines):
    """Let this process be one of mpirun's ranks, with a compiler that is such a script."""
    mpicc.write_text("\n".join(["#!/bin/sh", *lines]))
    mpicc.chmod(0o755)
    monkeypatch.setattr(runtime, "this_rank", lambda: Rank(0, ranks, 0, "mpirun"))
    monkeypatch.setenv("mpicc_path", str(mpicc))
    monkeypatch.setenv("use_mpi", "0")


@pytest.mark.parametrize(("ranks", "fits"), [(128, True), (129, False)])
def test_more_ranks_than_jittors_mpi_has_room_for_are_refused(tmp_path, monkeypatch, ranks, fits):
    _start_by_mpirun(monkeypatch, ranks, tmp_path / "mpicc", "exit 0")
    with nullcontext() if fits else pytest.raises(EngineError, match="-np 129.*128 ranks"):
        runtime._settle_mpi()


def test_an_mpi_that_jittor_does_not_know_is_refused(tmp_path, monkeypatch):
    """As MPICH's, whose mpicc hands the option on to gcc."""
    mpicc = tmp_path / "mpicc.mpich"
    _start_by_mpirun(monkeypatch, 2, mpicc, 'echo "gcc: error: $1" >&2', "exit 1")
    with pytest.raises(EngineError, match=f"{mpicc} is not Open MPI's.*libopenmpi-dev"):
        runtime._settle_mpi()
    mpicc.unlink()
    with pytest.raises(EngineError, match=f"{mpicc} is missing"):
        runtime._settle_mpi()


def test_workers_may_share_a_gpu(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    take_share(Rank(2, 4, 2, WORKERS, 4), "auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_a_launcher_that_restarts_is_known(monkeypatch):
    assert not is_restartable()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert not is_restartable()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert is_restartable()


def test_code_is_known_by_what_its_files_hold(tmp_path):
    def digest(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        return code_digest(tmp_path)

    before = digest(a_py="1", b_h="2")
    assert digest(c_txt="of no account") == before
    assert len({before, digest(b_h="3"), digest(a_py="3"), digest(c_py="")}) == 4


def test_images_are_known_by_some_of_them_and_by_all_labels():
    one = np.zeros((40, 4, 4, 3), np.uint8)
    other, labels = one.copy(), np.arange(40)
    other[-1, 0, 0, 0] = 1
    sets = [Images(one, one), Images(other, one), Images(one, one, labels)]
    sets.append(Images(one, one, labels[::-1]))
    assert len({_look_at(images) for images in sets}) == 4
    assert _look_at(Images(one.copy(), one, labels)) == _look_at(sets[2])
    assert _look_at(Images(one[:1], one))


def _two(*configs):
    """Start two ranks as srun does, each with a config, and return how they end."""
    return _ends(*(command("pytorch", 1, path, "run") for path in configs))


def _ends(*lines):
    ranks = tasks(*lines)
    try:
        return [(rank.communicate(timeout=240)[0], rank.returncode) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


@pytest.mark.pytorch
def test_another_config_on_a_rank_is_said_by_the_first(tmp_path):
    (said, code), (silent, other) = _two(config(tmp_path), config(tmp_path, n_iters=21))
    assert (code, other) == (2, 2)
    assert "rank 1: another config than rank 0" in said
    assert "error" not in silent


@pytest.mark.pytorch
def test_a_rank_without_the_data_says_so(tmp_path):
    there = config(tmp_path)
    tree = yaml.safe_load(there.read_text())
    tree["data"] |= {"dataset": "FOLDER", "root": str(tmp_path / "nothing")}
    missing = tmp_path / "missing.yml"
    missing.write_text(yaml.safe_dump(tree))
    (silent, code), (said, other) = _two(there, missing)
    assert (code, other) == (2, 2)
    assert "rank 1: " in said and "nothing" in said
    assert "error" not in silent


@pytest.mark.pytorch
@pytest.mark.parametrize(
    ("what", "name"), [("code", "state of the code"), ("images", "content of the images")]
)
def test_other_code_or_images_are_said_by_the_first(tmp_path, what, name):
    line = command("pytorch", 1, config(tmp_path), "run")
    place = line.index("jittor_ddim")
    line[place : place + 1] = ["ranks.differing", what]
    (said, code), (silent, other) = _ends(line, line)
    assert (code, other) == (2, 2)
    assert f"rank 1: another {name} than rank 0" in said
    assert "error" not in silent


@pytest.mark.pytorch
def test_a_mistake_of_a_later_rank_is_said_by_it(tmp_path):
    """Where nobody ends it: the first waits for it."""
    there = config(tmp_path)
    first, second = tasks(
        *(command("pytorch", 1, path, "run") for path in (there, tmp_path / "missing.yml"))
    )
    with first, second:
        try:
            said = second.communicate(timeout=240)[0]
            assert second.returncode == 2
            assert "rank 1: error: " in said and "missing.yml" in said
            assert first.poll() is None
        finally:
            first.kill()
            second.kill()


@pytest.mark.pytorch
def test_a_mistake_of_all_ranks_is_said_once(tmp_path):
    said = run(command("pytorch", 2, tmp_path / "missing.yml", "run"), code=1)
    assert said.count("error: ") == 1, said
    assert "missing.yml" in said
