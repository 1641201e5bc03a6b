"""``python -m benchmarks.worker FOLDER NAME DEVICE``: one entrant's process."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.entrants import CIFAR10, by_name
from jittor_ddim.hardware import Meter, peak_memory, reset_peak_memory
from jittor_ddim.parity.serve import serve
from jittor_ddim.stopwatch import count_loads


class Session:
    """The tasks of :mod:`jittor_ddim.parity.serve`."""

    def __init__(self, runner: Any) -> None:
        """:param runner: an Ours or a Peer"""
        self._runner = runner
        self._meter = Meter(runner.environment()["device"], runner.device_memory)

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return self._runner.environment()

    def sample(
        self, batch: int, calls: int, repeats: int, eta: float = 0.0, config: str = CIFAR10
    ) -> dict[str, Any]:
        """Return the figures of so many samplings of so many network calls each."""
        return self._measure(lambda: self._runner.sample(batch, calls, eta, config), repeats)

    def train(self, batch: int, repeats: int, config: str = CIFAR10) -> dict[str, Any]:
        """Return the figures of so many training steps."""
        given = self._runner.make_batch(batch, config)
        return self._measure(lambda: self._runner.train(*given, config), repeats)

    def convolution_peak(self, batch: int, precision: str) -> float:
        """Return the most operations a second in a convolution of PyTorch."""
        from benchmarks.convolution import convolution_peak

        return convolution_peak(batch, precision)

    def release(self) -> None:
        """Forget the networks; peaks of memory count from now on."""
        self._runner.release()
        reset_peak_memory()

    def peak_memory(self) -> dict[str, int | None]:
        """Return the most bytes that this process has had, on the host and on the device."""
        return {"host": peak_memory(), "device": self._runner.device_memory()}

    def _measure(self, action: Callable[[], object], repeats: int) -> dict[str, Any]:
        """Return the seconds of each repeat, and of a GPU joules and utilisation in percent."""
        energy, libraries = self._meter.energy(), count_loads()
        seconds = [_timed(action) for _ in range(repeats)]
        figures: dict[str, Any] = {"seconds": seconds, "loaded": count_loads() - libraries}
        if energy is not None:
            figures["joules"] = (self._meter.energy() or energy) - energy
        if (utilization := self._meter.read().get("gpu_utilization")) is not None:
            figures["gpu_utilization"] = utilization
        return figures


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Serve on the standard streams."""
    folder, name, device = sys.argv[1:]
    entrant = by_name(name)
    if entrant.direct:
        os.environ["JITTOR_DDIM_KERNELS"] = "direct"
    if not entrant.graphs:
        os.environ["JITTOR_DDIM_CUDA_GRAPHS"] = "off"

    def start() -> Session:
        if entrant.engine == "diffusers":
            from benchmarks.peer import Peer

            return Session(Peer(entrant, device))
        from benchmarks.ours import Ours

        return Session(Ours(entrant, device))

    serve(Path(folder), start)


if __name__ == "__main__":
    main()
