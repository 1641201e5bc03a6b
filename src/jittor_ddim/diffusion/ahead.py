"""Noise that threads draw while the network computes."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_MOST_THREADS = 4


def prepared_ahead(draw: Callable[[int], Any], count: int) -> Callable[[int], Any]:
    """Return a function k -> draw(k) for ascending k < count that draws the next ones in advance.

    A GPU computes a step of a sampler faster than one thread draws the noise for it. Half of the
    cores are left to the network.
    """
    threads = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))
    pool = ThreadPoolExecutor(threads, "noise")  # they end when the function is forgotten
    ahead: dict[int, Future[Any]] = {}

    def prepared(k: int) -> Any:
        for n in range(k, min(k + threads + 1, count)):
            if n not in ahead:
                ahead[n] = pool.submit(draw, n)
        for skipped in [n for n in ahead if n < k]:  # by a sampler that adds noise now and then
            del ahead[skipped]
        return ahead.pop(k).result()

    return prepared
