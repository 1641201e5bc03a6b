"""Ranks find each other, and none that has ended; those that cannot say so soon."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from jittor_ddim.errors import EngineError
from jittor_ddim.ranks import Rank

pytestmark = pytest.mark.pytorch


@pytest.fixture
def ranks(monkeypatch):
    pytest.importorskip("torch")
    from jittor_ddim.engines.pytorch import ranks

    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(ranks, "_MEETING", timedelta(seconds=2))
    return ranks


@contextmanager
def port_at(monkeypatch):
    """Listen at a port that is where the ranks are to meet, and answer nobody."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", port)
        yield port


@pytest.mark.parametrize(
    ("index", "reason"), [(0, "the port is in use"), (1, "rank 0 has not answered there for 2 s")]
)
def test_another_programs_port_is_named(ranks, monkeypatch, index, reason):
    with port_at(monkeypatch) as port, pytest.raises(EngineError) as told:
        ranks.meet(Rank(index, 2), "cpu")
    assert f"the ranks cannot meet at 127.0.0.1:{port}: {reason}" in str(told.value)


def test_ranks_that_do_not_come_are_named(ranks, monkeypatch):
    with port_at(monkeypatch) as port:
        pass
    with pytest.raises(EngineError, match=f":{port}: ranks 1, 2 not there after 2 s"):
        ranks.meet(Rank(0, 3), "cpu")


def test_an_attempt_does_not_meet_the_ranks_of_the_one_before(ranks):
    import torch

    store, end = torch.distributed.HashStore(), time.monotonic() + 60

    def attempt(index):
        time.sleep(0.5 * (index == 0))  # the others find what the first one left last time
        return ranks._attempt(store, Rank(index, 3), end)

    with ThreadPoolExecutor(3) as pool:
        names = [set(pool.map(attempt, range(3))) for _ in range(3)]
    assert [len(each) for each in names] == [1, 1, 1]
    assert len(set.union(*names)) == 3
