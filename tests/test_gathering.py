"""What a rank makes of a first rank that has failed and gone before it was looked for.

The first rank's end is the removal of the folder in which the ranks meet.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jittor_ddim import gathering
from jittor_ddim.gathering import Dismissed, Gathering
from jittor_ddim.ranks import Rank

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, getattr(fcntl, sys.argv[2]))
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".ranks/x"


@pytest.fixture
def other(folder, monkeypatch):
    monkeypatch.setattr(gathering, "_ARRIVAL_S", 20.0)
    return Gathering(Rank(1, 2, 1, "torchrun"), folder, "what was asked for")


def dismissed_soon(rank):
    begin = time.monotonic()
    with pytest.raises(Dismissed, match="has ended"):
        rank.arrive()
    return time.monotonic() - begin < 5


def test_the_first_rank_came_and_went_between_two_looks(other, folder):
    with other.announced():
        shutil.rmtree(folder)
        assert dismissed_soon(other)


def test_its_answer_goes_while_it_is_read(other, folder, monkeypatch):
    read = Path.read_bytes

    def goes(path):
        shutil.rmtree(path.parent)
        return read(path)

    with other.announced():
        (folder / f"to-{other._token}").write_text("{}")
        monkeypatch.setattr(Path, "read_bytes", goes)
        assert dismissed_soon(other)


def test_it_goes_while_this_rank_announces_itself(other, folder, monkeypatch):
    lock = gathering.try_lock

    def goes(file, **options):
        shutil.rmtree(folder)
        return lock(file, **options)

    monkeypatch.setattr(gathering, "try_lock", goes)
    with pytest.raises(Dismissed, match="has ended"), other.announced():
        pass


def test_a_first_rank_that_never_comes_leaves_nothing(other, folder, monkeypatch):
    monkeypatch.setattr(gathering, "_ARRIVAL_S", 0.5)
    with pytest.raises(Dismissed, match="did not come"), other.announced():
        other.arrive()
    assert not folder.exists()


def test_a_rank_that_is_ended_before_its_next_look_leaves_nothing(other, folder, monkeypatch):
    """The first one is killed, and whoever started both ends this one, too."""

    class EndedError(Exception):
        pass

    def end(seconds):
        (folder / "rank-0").unlink()  # the lock goes with the process
        first.communicate()
        raise EndedError

    monkeypatch.setattr(time, "sleep", end)
    with pytest.raises(EndedError), other.announced():
        (folder / "rank-0").touch()
        first = hold(folder / "rank-0", "LOCK_EX")
        other.arrive()
    assert not folder.exists()


def hold(path, how):
    """Let another process lock a file until its stdin ends."""
    line = [sys.executable, "-c", HOLD, str(path), how]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, text=True, stdin=pipe, stdout=pipe)
    process.stdout.readline()
    return process


@pytest.mark.parametrize("how, held", [("LOCK_EX", True), ("LOCK_SH", False)])
def test_who_looks_is_not_taken_for_the_owner(tmp_path, how, held):
    (tmp_path / "rank-0").touch()
    process = hold(tmp_path / "rank-0", how)
    assert gathering._is_held(tmp_path / "rank-0") == held
    process.communicate()
    assert not gathering._is_held(tmp_path / "rank-0")
