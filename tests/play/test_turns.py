"""Many at one engine: who came last begins too, and what is begun takes bounded memory."""

import threading
import time

import pytest
from playing import read, serving

from jittor_ddim.play import turns
from jittor_ddim.play.ask import MOST_IMAGES
from jittor_ddim.play.layout import MOST_PIXELS

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "_TURN_SECONDS", 0.1)
    with serving(tmp_path, seconds=0.02) as server:
        server.events({"timesteps": 1})  # it has started
        server.events({"timesteps": 1, "network": "large", "num_samples": 1})
        yield server


def long_runs(server, count, **ask):
    """Runs that go on for minutes, each read in a thread of its own; and what they have begun."""
    begun = set()

    def follow(number):
        for event in read(server.run({"timesteps": 1000, **ask}, f"long {number}")):
            if "position" in event:
                begun.add(number)

    for number in range(count):
        threading.Thread(target=follow, args=(number,), daemon=True).start()
    until = time.monotonic() + 20
    while sum(len(one._jobs) for one in server.turns.values()) < count:
        assert time.monotonic() < until
        time.sleep(0.05)
    return begun


def wait(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("others", [8, 20, 50])
def test_who_asks_for_little_is_served_however_many_ask_for_much(server, others):
    begun = long_runs(server, others, num_samples=16)
    start = time.monotonic()
    done = server.events({"timesteps": 2, "num_samples": 2}, "last")[-1]
    assert done == {"done": True}
    assert time.monotonic() - start < 25  # all the long ones together take 20 s each
    wait(lambda: len(begun) == others)


def test_images_that_take_much_memory_begin_as_far_as_there_is_room(server, monkeypatch):
    monkeypatch.setattr(turns, "_MOST_PIXELS_BEGUN", 2 * MOST_PIXELS)
    begun = long_runs(server, 4, network="large", num_samples=8)
    wait(lambda: len(begun) == 2)
    assert server.events({"timesteps": 2, "num_samples": MOST_IMAGES}, "last")[-1]["done"]
    assert server.events({"timesteps": 2, "network": "large", "num_samples": 1}, "last")[-1][
        "done"
    ]
    assert len(begun) == 2
