import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import ENVIRONMENT, run_script

from jittor_ddim import atomic, locks
from jittor_ddim.checkpoints.native import Checkpoint, save_checkpoint
from jittor_ddim.config import load_config, parse_config
from jittor_ddim.errors import CheckpointError, MachineError, UserError
from jittor_ddim.runs.folder import Run, find_run, samples_folder

CONFIG = parse_config({"data": {"dataset": "DIGITS", "image_size": 32}}, "test")
OTHER = parse_config({"data": {"dataset": "DIGITS", "image_size": 16}}, "test")


def make_run(exp: Path, doc: str = "c10", step: int | None = None) -> Run:
    run = Run.at(exp, doc)
    run.create(CONFIG, resume=False)
    if step is not None:
        save(run, step)
    return run


def save(run: Run, step: int) -> Path:
    arrays = {"a": np.ones(3, np.float32)}
    checkpoint = Checkpoint(step=step, epoch=0, config=CONFIG, weights=arrays, ema_weights=None,
                            optimizer=arrays)  # fmt: skip
    return save_checkpoint(run.log_folder, checkpoint, keep_last=3)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder but the locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith(".lock")
    }


def never(question: str) -> bool:
    raise AssertionError(question)


def test_layout(tmp_path):
    run = Run.at(tmp_path, "c10")
    assert run.log_folder == tmp_path / "logs" / "c10"
    assert run.config_path == run.log_folder / "config.yml"
    assert run.stdout_path == run.log_folder / "stdout.txt"
    assert run.metrics_path == run.log_folder / "metrics.jsonl"
    assert run.tensorboard_folder == run.log_folder / "tensorboard"
    assert Run.at(tmp_path, "a//b/") == Run.at(tmp_path, "a/b")
    assert samples_folder(tmp_path, "a/b") == tmp_path / "image_samples" / "a" / "b"
    assert tree(tmp_path) == {}


OUTSIDE = [
    "", ".", "..", "/", "../x", "a/..", "a/../..", "a/../../x", "/etc", "//etc", "a/../b",
    "a\0b", "a\nb", ".hidden", "a/.lock", "x" * 201, "\ud800", "./..",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="`doc`") as error:
        Run.at(tmp_path, name)
    assert str(error.value).isprintable()
    with pytest.raises(UserError, match="`image_folder`"):
        samples_folder(tmp_path, name)


PIECES = st.sampled_from(["..", ".", "/", "//", "a", "b c", "~", "\\", "\0", "é", "-", "$HOME"])


@settings(deadline=None)
@given(name=st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20))
def test_no_name_leads_out(name):
    exp = Path("some") / "where"
    try:
        folder = Run.at(exp, name).log_folder
    except UserError:
        return
    logs = os.path.normpath(exp / "logs")
    assert os.path.normpath(folder).startswith(logs + os.sep)
    assert not any(part.startswith(".") for part in folder.parts)
    assert not Path(name).is_absolute()


def test_a_link_that_leads_out_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "exp" / "logs").mkdir(parents=True)
    (tmp_path / "exp" / "logs" / "link").symlink_to(outside)
    for doc in ("link", "link/x"):
        with pytest.raises(UserError, match="leads out"):
            Run.at(tmp_path / "exp", doc)
    (tmp_path / "linked").symlink_to(tmp_path / "exp")  # an experiment may itself be a link
    make_run(tmp_path / "linked")


def test_a_new_run_has_a_config_that_loads_again(tmp_path):
    run = make_run(tmp_path, "a/b")
    assert load_config(run.config_path) == CONFIG
    assert {path.name for path in run.log_folder.iterdir()} == {".jittor-ddim", "config.yml"}
    assert [path.name for path in run.log_folder.parent.iterdir()] == ["b"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "logs" / "c10").mkdir(parents=True)
    run = Run.at(tmp_path, "c10")
    run.check(CONFIG, resume=False, ask=never)
    run.create(CONFIG, resume=False)
    assert run.config_path.is_file()


def test_overwriting_asks_and_no_keeps(tmp_path):
    run = make_run(tmp_path, step=5)
    before = tree(tmp_path)
    questions = []
    with pytest.raises(UserError, match=r"c10: kept; .*`resume_training`"):
        run.check(OTHER, resume=False, ask=lambda text: bool(questions.append(text)))
    assert questions == [f"{run.log_folder} already exists. Overwrite? (y/n)"]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("ask", [None, lambda _: True])
def test_overwriting_replaces_the_whole_folder(tmp_path, ask):
    run = make_run(tmp_path, step=5)
    (run.log_folder / "notes").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("…")
    run.check(OTHER, resume=False, ask=ask)
    assert load_config(run.config_path) == CONFIG
    run.create(OTHER, resume=False)
    assert load_config(run.config_path) == OTHER
    assert {path.name for path in run.log_folder.iterdir()} == {".jittor-ddim", "config.yml"}
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["c10"]
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("ask", [None, never])
def test_a_foreign_folder_is_never_deleted(tmp_path, ask):
    run = make_run(tmp_path, "a/b")  # "a" holds runs, but is none
    (tmp_path / "logs" / "mine").mkdir()
    (tmp_path / "logs" / "mine" / "config.yml").write_text(CONFIG.to_yaml())
    (tmp_path / "logs" / "file").write_text("text")
    (tmp_path / "logs" / "link").symlink_to(run.log_folder)
    before = tree(tmp_path)
    for doc, problem in {
        "a": "not a run of jittor-ddim",
        "mine": "not a run of jittor-ddim",
        "file": "not a folder",
        "link": "not a folder",
        "a/b/c": "inside the run",
    }.items():
        with pytest.raises(UserError, match=problem):
            Run.at(tmp_path, doc).check(CONFIG, resume=False, ask=ask)
        with pytest.raises(UserError, match=problem):
            Run.at(tmp_path, doc).create(CONFIG, resume=False)
    assert tree(tmp_path) == before


def test_a_file_in_the_way_is_the_users_to_move(tmp_path):
    (tmp_path / "logs").write_text("text")
    run = Run.at(tmp_path, "c10")
    with pytest.raises(UserError, match="logs: .*choose another path"), run.lock():
        pass
    with pytest.raises(UserError, match="choose another path"):
        run.create(CONFIG, resume=False)


def test_resume_needs_a_checkpoint_that_fits(tmp_path):
    with pytest.raises(UserError, match="c10: nothing to resume"):
        Run.at(tmp_path, "c10").create(CONFIG, resume=True)
    assert tree(tmp_path) == {}
    run = make_run(tmp_path)
    with pytest.raises(UserError, match="nothing to resume"):
        run.create(CONFIG, resume=True)
    folder = save(run, 5)
    before = tree(tmp_path)
    with pytest.raises(CheckpointError, match=r"data.image_size 32 instead of 16"):
        run.create(OTHER, resume=True)
    run.create(CONFIG, resume=True)
    assert tree(tmp_path) == before
    longer = parse_config({**CONFIG.model_dump(), "training": {"n_iters": 9}}, "test")
    run.create(longer, resume=True)
    assert load_config(run.config_path) == longer
    (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"state.json: missing"):
        run.create(CONFIG, resume=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("resume", [False, True])
def test_a_full_or_read_only_disk_destroys_nothing(tmp_path, monkeypatch, code, resume):
    run = make_run(tmp_path, step=5)
    before = tree(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "fsync", fail)
    other = parse_config({**CONFIG.model_dump(), "training": {"n_iters": 9}}, "test")
    with pytest.raises(MachineError, match=r"c10.*: .*; (free|choose)") as error:
        run.create(other, resume=resume)
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == before


def test_a_kill_while_overwriting_leaves_a_whole_run_or_none(tmp_path):
    script = Path(__file__).with_name("kill_while_overwriting.py")
    sizes = run_script(str(script), tmp_path / "exp").split()
    assert sizes.count("32") > 3 and sizes.count("16") > 3
    assert sizes.count("None") == 1  # between the two renames
    assert sizes == ["32"] * sizes.count("32") + ["None"] + ["16"] * sizes.count("16")


HOLD = """
import pathlib, sys, os, time
from jittor_ddim.runs.folder import Run
with Run.at(pathlib.Path(sys.argv[1]), "c10").lock():
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def hold(exp: Path, how: str = "alone") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, exp, how],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout and int(process.stdout.readline()) == process.pid
    return process


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_second_run_names_the_first_and_a_kill_frees_the_folder(tmp_path, how):
    run = Run.at(tmp_path, "c10")
    process = hold(tmp_path, how)
    try:
        for _ in range(2):  # the failed attempt must not free it
            with pytest.raises(UserError) as error, run.lock():
                pass
            message = str(error.value)
            assert message.startswith(f"{run.log_folder}: in use by process {process.pid} on ")
            assert " since 20" in message and "another `doc`" in message
        with Run.at(tmp_path, "other").lock():
            pass
        process.kill()  # and not the child that it may have forked
        assert process.wait() == -signal.SIGKILL
        with run.lock():
            make_run(tmp_path)
            make_run(tmp_path)  # replacing the folder does not free it
            with pytest.raises(UserError, match="this very process"), run.lock():
                pass
            assert str(os.getpid()) in lock_of_another_process(tmp_path)
        assert lock_of_another_process(tmp_path) == "free"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def lock_of_another_process(exp: Path) -> str:
    code = (
        "import pathlib, sys; from jittor_ddim.runs.folder import Run; "
        "lock = Run.at(pathlib.Path(sys.argv[1]), 'c10').lock(); lock.__enter__(); print('free')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exp],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr


def test_a_lock_is_signed_though_an_argument_is_no_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ddim", "caf\udce9.yml"])
    with Run.at(tmp_path, "d").lock():
        assert "caf\\udce9.yml" in (tmp_path / "logs" / ".d.lock").read_text()


def test_an_unsigned_lock_still_locks(tmp_path):
    process = hold(tmp_path)
    try:
        (tmp_path / "logs" / ".c10.lock").write_text("")
        with pytest.raises(UserError, match="another process"), Run.at(tmp_path, "c10").lock():
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_folder_that_cannot_be_locked_is_the_machines_fault(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "lockf", fail)
    run = Run.at(tmp_path, "c10")
    with pytest.raises(MachineError, match="c10.lock: no locks available"), run.lock():
        pass


def test_find_run_takes_the_named_the_only_or_the_newest(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        find_run(tmp_path, None)
    first = make_run(tmp_path, "a/first")
    assert find_run(tmp_path, None) == first
    second = make_run(tmp_path, "second")
    os.utime(first.config_path, (1e9, 1e9))
    os.utime(second.config_path, (1e9 + 1, 1e9 + 1))
    assert find_run(tmp_path, None) == second
    first.metrics_path.write_text("{}\n")
    assert find_run(tmp_path, None) == first
    assert find_run(tmp_path, "second") == second
    with pytest.raises(UserError, match=r"third: no such run; .* are: a/first, second"):
        find_run(tmp_path, "third")
    with pytest.raises(UserError, match="`doc`"):
        find_run(tmp_path, "../x")
    (tmp_path / "logs" / ".old.overwritten").mkdir()
    shutil.copy(second.config_path, tmp_path / "logs" / ".old.overwritten")
    with pytest.raises(UserError, match=r"are: a/first, second$"):
        find_run(tmp_path, "third")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.yml"
    atomic.write_atomic(path, b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomic(path, b"new")
    assert tree(tmp_path) == {"config.yml": b"old"}
