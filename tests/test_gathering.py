"""What a rank makes of a first rank that has failed and gone before it was looked for.

The first rank's end is the removal of the folder in which the ranks meet.
"""

import shutil
import time
from pathlib import Path

import pytest

from jittor_ddim import gathering
from jittor_ddim.gathering import Dismissed, Gathering
from jittor_ddim.ranks import Rank


@pytest.fixture
def other(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "_ARRIVAL_S", 20.0)
    return Gathering(Rank(1, 2, 1, "torchrun"), tmp_path / ".ranks/x", "what was asked for")


def dismissed_soon(rank):
    begin = time.monotonic()
    with pytest.raises(Dismissed):
        rank.arrive()
    return time.monotonic() - begin < 5


def test_the_first_rank_came_and_went_between_two_looks(other, tmp_path):
    with other.announced():
        shutil.rmtree(tmp_path / ".ranks/x")
        assert dismissed_soon(other)
    assert not (tmp_path / ".ranks/x").exists()


def test_its_answer_goes_while_it_is_read(other, tmp_path, monkeypatch):
    read = Path.read_bytes

    def goes(path):
        shutil.rmtree(path.parent)
        return read(path)

    with other.announced():
        for kind in ("to", "done", "part"):
            (tmp_path / ".ranks/x" / f"{kind}-{other._token}").write_text("{}")
        monkeypatch.setattr(Path, "read_bytes", goes)
        assert dismissed_soon(other)
