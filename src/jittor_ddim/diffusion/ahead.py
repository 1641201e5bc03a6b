"""Noise that threads draw while the network computes."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_MOST_THREADS = 4


def prepared_ahead(draw: Callable[[int], Any]) -> Callable[[int], Any]:
    """Return a function k -> draw(k) that draws for the next k while the last one is in use.

    A GPU computes a step of a sampler faster than one thread draws the noise for it.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, "noise")  # they end when the function is forgotten
    ahead: dict[int, Future[Any]] = {}

    def prepared(k: int) -> Any:
        kept = {n: future for n, future in ahead.items() if k <= n <= k + threads}
        ahead.clear()
        for n in range(k, k + threads + 1):
            ahead[n] = kept.get(n) or pool.submit(draw, n)
        return ahead.pop(k).result()

    return prepared
