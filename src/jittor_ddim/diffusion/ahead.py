"""Noise that a thread draws while the network computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def prepared_ahead(draw: Callable[[int], Any]) -> Callable[[int], Any]:
    """Return a function k -> draw(k) that draws for k + 1 as soon as it is asked for k.

    A GPU computes a step of a sampler about as fast as a host draws the noise for it.
    """
    pool = ThreadPoolExecutor(1, "noise")  # its thread ends when the function is forgotten
    ahead: dict[int, Future[Any]] = {}

    def prepared(k: int) -> Any:
        future = ahead.pop(k, None) or pool.submit(draw, k)
        ahead.clear()
        ahead[k + 1] = pool.submit(draw, k + 1)
        return future.result()

    return prepared
