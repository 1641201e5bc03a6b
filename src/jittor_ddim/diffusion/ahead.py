"""Noise that threads draw while the network computes."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_MOST_THREADS = 4


def prepared_ahead(draw: Callable[[int], Any], count: int) -> Callable[[int], Any]:
    """Return a function k -> draw(k), to be asked for ascending k, that draws the next ones too.

    A GPU computes a step of a sampler faster than one thread draws the noise for it. Half of the
    cores are left to the network.

    :param count: how many there are
    """
    threads = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))
    pool = ThreadPoolExecutor(threads, "noise")  # they end when the function is forgotten
    ahead: dict[int, Future[Any]] = {}

    def prepared(k: int) -> Any:
        for n in range(k, min(k + threads + 1, count)):
            if n not in ahead:
                ahead[n] = pool.submit(draw, n)
        return ahead.pop(k).result()

    return prepared
