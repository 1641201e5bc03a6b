"""Checkpoints are written while their run goes on."""

import threading
import time

import pytest
from checkpoints.kill_while_saving import CONFIG, make_checkpoint

from jittor_ddim.checkpoints.native import list_checkpoints, load_checkpoint
from jittor_ddim.errors import MachineError
from jittor_ddim.runs import snapshots
from jittor_ddim.runs.snapshots import Snapshots


@pytest.fixture
def run(tmp_path):
    with Snapshots(tmp_path, CONFIG.training, last_step=9) as run:
        yield run


@pytest.fixture
def disk(monkeypatch):
    """An event without which no checkpoint is written."""
    ready, save = threading.Event(), snapshots.save_checkpoint

    def when_ready(*arguments):
        assert ready.wait(60)
        return save(*arguments)

    monkeypatch.setattr(snapshots, "save_checkpoint", when_ready)
    yield ready
    ready.set()


def test_nothing_was_saved(run):
    assert run.wait() is None


def test_the_caller_goes_on_and_waits_when_it_asks(run, disk, tmp_path):
    run.take(lambda: make_checkpoint(1))
    assert run.are_writing()
    assert list_checkpoints(tmp_path) == []
    disk.set()
    assert run.wait() == run.wait() == tmp_path / "ckpt_1"
    assert not run.are_writing()
    assert load_checkpoint(tmp_path).step == 1


def test_no_second_checkpoint_is_made_before_the_first_is_written(run, disk, tmp_path):
    def second():
        assert load_checkpoint(tmp_path).step == 1
        return make_checkpoint(2)

    run.take(lambda: make_checkpoint(1))
    threading.Timer(0.2, disk.set).start()
    run.take(second)
    assert run.wait() == tmp_path / "ckpt_2"


def test_the_exit_waits_for_what_is_being_written(tmp_path, disk):
    with Snapshots(tmp_path, CONFIG.training, last_step=9) as run:
        run.take(lambda: make_checkpoint(1))
        threading.Timer(0.2, disk.set).start()
    assert load_checkpoint(tmp_path).step == 1


def test_an_interrupt_waits_for_nothing(tmp_path, disk):
    """The disk may hang."""
    with (
        pytest.raises(KeyboardInterrupt),
        Snapshots(tmp_path, CONFIG.training, last_step=9) as run,
    ):
        run.take(lambda: make_checkpoint(1))
        raise KeyboardInterrupt
    assert list_checkpoints(tmp_path) == []


@pytest.fixture
def full_disk(monkeypatch):
    def fail(*arguments):
        raise MachineError("no space left on device")

    monkeypatch.setattr(snapshots, "save_checkpoint", fail)


def test_what_could_not_be_written_is_an_error_once(run, full_disk):
    run.take(lambda: make_checkpoint(1))
    with pytest.raises(MachineError, match="no space left"):
        run.wait()
    assert run.wait() is None


def test_what_could_not_be_written_is_an_error_without_waiting(run, full_disk):
    run.take(lambda: make_checkpoint(1))
    deadline = time.monotonic() + 30
    with pytest.raises(MachineError, match="no space left"):
        while run.are_writing():
            assert time.monotonic() < deadline
    assert not run.are_writing()


def test_a_run_that_fails_tells_of_the_full_disk_too(tmp_path, full_disk, caplog):
    with pytest.raises(ZeroDivisionError), Snapshots(tmp_path, CONFIG.training, 9) as run:
        run.take(lambda: make_checkpoint(1))
        raise ZeroDivisionError
    assert "no space left" in caplog.text


def test_a_run_that_fails_anyway_has_the_checkpoint_before(tmp_path, full_disk, caplog):
    before = tmp_path / "ckpt_1"
    with Snapshots(tmp_path, CONFIG.training, last_step=9, before=before) as run:
        run.take(lambda: make_checkpoint(2))
        assert run.newest() == before
    assert "no space left" in caplog.text
