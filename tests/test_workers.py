"""Sampling and evaluation shared out among processes give what one process gives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs.conftest import CONFIG

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.ranks import _LAUNCHERS

PROGRAM = Path(__file__).with_name("worker_with_fake_engine.py")
LIMIT_S = 240


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start `ddim` with a small network; whatever still runs at the end is killed."""
    for names in _LAUNCHERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    save_weights(tmp_path / "w.safetensors", fresh_weights(CONFIG, 1), CONFIG)
    started = []

    def start(command, *arguments, harm=None, **environment):
        line = [sys.executable, str(PROGRAM), command, "--engine", "fake", "--timesteps", "4"]
        line += ["--checkpoint", "w.safetensors", *map(str, arguments)]
        told = {**os.environ, **environment} | ({"HARM": json.dumps(harm)} if harm else {})
        process = subprocess.Popen(
            line, cwd=tmp_path, env=told, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()


@pytest.fixture
def ddim(start):
    """Run `ddim`; return its exit code, what it printed and the lines of its errors."""

    def ddim(*arguments, **options):
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=LIMIT_S)
        errors = [line for line in err.splitlines() if "error:" in line]
        return process.returncode, out, errors

    return ddim


def images(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def processes_of(folder):
    """The processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve() == folder.resolve():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def test_workers_leave_the_files_of_one_process_whatever_happened_before(ddim, tmp_path):
    assert ddim("sample", "--fid", "--num_samples", 22, "-i", "one")[0] == 0
    one = images(tmp_path / "exp/image_samples/one")
    many = ("sample", "--fid", "--num_samples", 22, "-i", "many", "--workers")
    code, _, errors = ddim(*many, 3, harm=[1, "os.kill(os.getpid(), signal.SIGKILL)"])
    assert code == 1 and errors and all("rank 1" in line for line in errors)
    some = images(tmp_path / "exp/image_samples/many")
    assert len(some) < 22 and not processes_of(tmp_path)
    before = set((tmp_path / "exp/.ranks").iterdir())  # killed processes may leave their folder
    code, out, errors = ddim(*many, 2)
    assert (code, errors) == (0, [])
    assert json.loads(out) == {"made": ["exp/image_samples/many"]}  # printed by one process
    assert images(tmp_path / "exp/image_samples/many") == one
    assert set((tmp_path / "exp/.ranks").iterdir()) <= before and not processes_of(tmp_path)


def test_the_distances_of_two_workers_are_those_of_one_process(ddim, tmp_path):
    names = ("evaluate", "--features", "small", "--reference", "test", "--num_samples", 700)
    results = []
    for workers in (1, 2):
        code, out, errors = ddim(*names, "--workers", workers, "--out", f"{workers}.json")
        assert (code, errors) == (0, [])
        results.append(json.loads(out))
    one, two = (result["metrics"] for result in results)
    assert set(one) == set(two) and len(one) >= 6
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-9), name
    assert results[0]["images"] == results[1]["images"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_workers_whose_starter_ends(start, tmp_path, number):
    process = start("sample", "--fid", "--workers", 2, harm=[1, "time.sleep(300)"])
    begin = time.monotonic()
    folder = tmp_path / "exp/image_samples/images"
    while len(images(folder)) < 4 and time.monotonic() - begin < LIMIT_S:
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    said = [line for line in err.splitlines() if line in ("interrupted", "terminated")]
    assert len(said) == (number != signal.SIGKILL)
    begin = time.monotonic()
    while processes_of(tmp_path) and time.monotonic() - begin < 30:
        time.sleep(0.1)
    assert not processes_of(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fid", "--workers", 0), "--workers 0: must be at least 1"),
        (("--fid", "--workers", -1), "--workers -1: must be at least 1"),
        (("--grid", "--workers", 2), "only the images of --fid"),
        (("--fid", "--num_samples", 0, "--workers", 2), "--num_samples. must be at least 1"),
    ],
)
def test_a_mistake_is_told_once(ddim, tmp_path, options, message):
    code, _, errors = ddim("sample", *options)
    assert code == 2 and len(errors) == 1
    assert message.replace(". must", " must") in errors[0].replace("`", "")
    assert not processes_of(tmp_path)


def test_a_mistake_of_one_worker_names_it(ddim):
    harm = [1, "from jittor_ddim.errors import UserError; raise UserError('no such data')"]
    code, _, errors = ddim("sample", "--fid", "--workers", 2, harm=harm)
    assert code in (1, 2) and any("rank 1" in line for line in errors)


def test_a_failure_of_one_worker_names_it(ddim, tmp_path):
    code, _, errors = ddim("sample", "--fid", "--workers", 2, harm=[1, "1 / 0"])
    assert code == 1 and any("rank 1: error: division by zero" in line for line in errors)
    assert not processes_of(tmp_path)


def test_more_workers_than_batches_are_told(start, tmp_path):
    process = start("sample", "--fid", "--num_samples", 4, "--workers", 3)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and "Fewer batches (1) than processes (3)" in err
    assert len(images(tmp_path / "exp/image_samples/images")) == 4


def test_a_launchers_processes_share_as_workers_do(start, tmp_path):
    """By the variables that torchrun sets: four processes, and no group of any framework."""

    def ranks(*options, sizes=(20, 20, 20, 20)):
        started = [
            start("sample", "--fid", "--num_samples", size, *options, RANK=str(index),
                  WORLD_SIZE=str(len(sizes)), LOCAL_RANK=str(index), TORCHELASTIC_RUN_ID="x")
            for index, size in enumerate(sizes)
        ]  # fmt: skip
        ends = [process.communicate(timeout=LIMIT_S) for process in started]
        return [process.returncode for process in started], [err for _, err in ends]

    codes, errors = ranks("--workers", 2)
    assert codes == [2, 2, 2, 2]
    # Nobody ends the others, as torchrun would, so they tell of it in the end.
    assert all("torchrun has started 4" in err for err in errors)
    assert [err.startswith(f"rank {n}: error: ") for n, err in enumerate(errors)] == [
        False, True, True, True,
    ]  # fmt: skip
    codes, errors = ranks(sizes=(20, 24))
    assert codes == [2, 2] and "rank 1: asked for something else" in errors[0] and not errors[1]
    assert ranks()[0] == [0, 0, 0, 0]
    assert len(images(tmp_path / "exp/image_samples/images")) == 20


def test_two_launches_that_nothing_tells_apart_do_not_mix(start, tmp_path):
    """MPICH's mpiexec tells a process its rank, but not of which launch."""

    def rank(index):
        told = {"PMI_RANK": str(index), "PMI_SIZE": "2", "MPI_LOCALRANKID": str(index)}
        return start("sample", "--fid", "--num_samples", 8, **told)

    first = rank(0)
    while not list((tmp_path / "exp/.ranks").glob("*/rank-0")):
        assert first.poll() is None
        time.sleep(0.1)
    late = rank(0)
    _, err = late.communicate(timeout=LIMIT_S)
    said = [line for line in err.splitlines() if line]
    assert late.returncode == 2 and len(said) == 1
    assert "--exp exp: another mpiexec is at work there" in said[0]
    second = rank(1)
    assert [process.wait(LIMIT_S) for process in (first, second)] == [0, 0]
    assert len(images(tmp_path / "exp/image_samples/images")) == 8
