"""Checkpoints are written while their run goes on."""

import threading

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
    run.check()
    assert list_checkpoints(tmp_path) == []
    disk.set()
    assert run.wait() == run.wait() == tmp_path / "ckpt_1"
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


@pytest.mark.parametrize("ask", ["check", "wait"])
def test_what_could_not_be_written_is_an_error_once(run, monkeypatch, ask):
    def full(*arguments):
        raise MachineError("no space left on device")

    monkeypatch.setattr(snapshots, "save_checkpoint", full)
    run.take(lambda: make_checkpoint(1))
    threading.Event().wait(0.2)  # so that it is done
    with pytest.raises(MachineError, match="no space left"):
        getattr(run, ask)()
    assert run.wait() is None
