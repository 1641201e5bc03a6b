"""``python -m benchmarks.worker FOLDER NAME BATCH DEVICE``: one contender's process."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import by_name
from jittor_ddim.hardware import peak_memory, reset_peak_memory
from jittor_ddim.workers.serve import serve


class Session:
    """The tasks of :mod:`jittor_ddim.workers.serve`."""

    def __init__(self, runner: Any) -> None:
        """:param runner: an Ours or a Peer"""
        self._runner = runner

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return self._runner.environment()

    def sample(self, calls: int, repeats: int) -> list[float]:
        """Return the seconds of so many samplings of so many network calls each."""
        return [_timed(lambda: self._runner.sample(calls)) for _ in range(repeats)]

    def train(self, steps: int) -> list[float]:
        """Return the seconds of each training step."""
        return [_timed(self._runner.train) for _ in range(steps)]

    def peak_memory(self) -> int:
        """Return the most bytes of this process since the last time, and count anew."""
        peak = peak_memory()
        reset_peak_memory()
        return peak


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Serve on the standard streams."""
    folder, name, batch, device = sys.argv[1:]
    contender = by_name(name)
    if contender.plain:
        os.environ["JITTOR_DDIM_KERNELS"] = "plain"

    def start() -> Session:
        if contender.engine == "diffusers":
            from benchmarks.peer import Peer

            return Session(Peer(contender, int(batch), device))
        from benchmarks.ours import Ours

        return Session(Ours(contender, int(batch), device))

    serve(Path(folder), start)


if __name__ == "__main__":
    main()
