import threading
import time
from weakref import WeakValueDictionary

import numpy as np
import pytest

from jittor_ddim.diffusion.noise import prepared_ahead


def test_it_returns_what_is_drawn():
    prepared = prepared_ahead(lambda k: k * k, 8)
    assert [prepared(k) for k in (0, 1, 2, 5, 6)] == [0, 1, 4, 25, 36]


def test_the_next_one_is_drawn_without_being_asked_for():
    drawn = {k: threading.Event() for k in range(10)}
    prepared = prepared_ahead(lambda k: drawn[k].set(), 10)
    prepared(0)
    assert drawn[1].wait(10)
    assert not drawn[9].is_set()


def test_nothing_is_drawn_twice_or_beyond_the_end():
    drawn = []
    prepared = prepared_ahead(lambda k: drawn.append(k) or k, 20)
    assert [prepared(k) for k in range(20)] == list(range(20))
    assert sorted(drawn) == list(range(20))


def test_an_error_is_raised_where_it_is_asked_for():
    prepared = prepared_ahead(lambda k: 1 / (1 - k), 3)
    assert prepared(0) == 1
    with pytest.raises(ZeroDivisionError):
        prepared(1)


def test_what_is_left_out_is_forgotten():
    """A long walk that adds noise now and then must not fill the memory."""
    alive = WeakValueDictionary()

    def draw(k):
        alive[k] = noise = np.zeros(k)
        return noise

    prepared = prepared_ahead(draw, 100)
    for k in (0, 30, 60):
        prepared(k)
    deadline = time.monotonic() + 10
    while min(alive.keys(), default=60) < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert min(alive.keys(), default=60) >= 60
