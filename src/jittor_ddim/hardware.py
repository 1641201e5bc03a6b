"""What hardware the machine has and how busy it is, found out without any framework."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

_MB = 2**20
#: A driver is asked no sooner again: to ask it cost each step 2 ms, and its figures are no newer.
_GPU_SECONDS = 0.1


@contextmanager
def nvml() -> Iterator[ModuleType | None]:
    """Yield NVIDIA's management library, or None where there is no driver."""
    library = _start_nvml()
    try:
        yield library
    finally:
        if library:
            library.nvmlShutdown()


def count_gpus() -> int:
    """Return how many NVIDIA GPUs there are; 0 if ``CUDA_VISIBLE_DEVICES`` hides them."""
    if gpus_are_hidden():
        return 0
    with nvml() as library:
        return library.nvmlDeviceGetCount() if library else 0


def gpus_are_hidden() -> bool:
    """Tell whether ``CUDA_VISIBLE_DEVICES`` hides all GPUs from programs."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def gpu_memory() -> int | None:
    """Return the bytes of memory of the first visible GPU; None where the driver does not tell."""
    with nvml() as library:
        if library is None:
            return None
        with suppress(library.NVMLError):
            gpu = library.nvmlDeviceGetHandleByIndex(_first_gpu())
            return int(library.nvmlDeviceGetMemoryInfo(gpu).total)
    return None


def _first_gpu() -> int:
    """The number by which NVML, which numbers all GPUs, calls the first visible one."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return int(first) if first.isdigit() else 0


@cache
def cpu_features() -> frozenset[str]:
    """Return the processor's features by Linux's names, such as ``avx2`` or ``avx512_bf16``."""
    return frozenset(_cpu_line("flags").split())


def describe_cpu() -> str:
    """Return the processor, its cores and its widest vectors, on which speed depends."""
    vectors = ("avx512_bf16", "avx512f", "avx2")
    widest = next((name for name in vectors if name in cpu_features()), "no AVX2")
    return f"{_cpu_line('model name') or 'unknown'}, {psutil.cpu_count()} cores, {widest}"


def _cpu_line(name: str) -> str:
    """What Linux says about the first processor under a name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def reset_peak_memory() -> None:
    """Let :func:`peak_memory` count from now on, or from the start where the system cannot."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)


def peak_memory() -> int:
    """Return the peak of this process's host memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Meter:
    """Reads memory and utilisation during a run."""

    def __init__(self, device: str, device_memory: Callable[[], int | None]) -> None:
        """Prepare to measure this process, and its GPU if it computes on one.

        :param device: ``cpu`` or ``cuda``
        :param device_memory: what the framework holds of the device's memory now, in bytes
        """
        self._device_memory = device_memory
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only sets the start of the interval
        self._nvml = _start_nvml() if device == "cuda" else None
        self._gpu = self._nvml.nvmlDeviceGetHandleByIndex(_first_gpu()) if self._nvml else None
        self._gpu_figures: dict[str, float] = {}
        self._gpu_asked = float("-inf")

    def read(self) -> dict[str, Any]:
        """Return the current figures by the keys of ``metrics.jsonl``.

        ``host_memory_mb`` is the process's resident memory, ``cpu_utilization`` its share of all
        cores since the last call, in percent; ``gpu_memory_mb`` what the framework holds,
        ``gpu_utilization`` in percent and ``gpu_power_w`` only where a GPU answers, at most 0.1 s
        old.
        """
        figures: dict[str, Any] = {
            "host_memory_mb": self._process.memory_info().rss / _MB,
            "cpu_utilization": self._process.cpu_percent() / (psutil.cpu_count() or 1),
        }
        memory = self._device_memory()
        if memory is not None:
            figures["gpu_memory_mb"] = memory / _MB
        if self._nvml and time.monotonic() - self._gpu_asked >= _GPU_SECONDS:
            busy = self._ask(lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
            power = self._ask(lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000)
            answers = {"gpu_utilization": busy, "gpu_power_w": power}
            self._gpu_figures = {k: v for k, v in answers.items() if v is not None}
            self._gpu_asked = time.monotonic()
        return figures | self._gpu_figures

    def energy(self) -> float | None:
        """Return the joules that the GPU has used since its driver was loaded; None if unknown."""
        return self._ask(lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000)

    def process_gpu_memory(self) -> float | None:
        """Return the GPU memory that the driver counts for this process, in MiB."""
        found = self._ask(lambda nvml, gpu: nvml.nvmlDeviceGetComputeRunningProcesses(gpu))
        own = [one.usedGpuMemory for one in found or [] if one.pid == os.getpid()]
        return own[0] / _MB if own and own[0] else None

    def _ask(self, question: Callable[[Any, Any], Any]) -> Any:
        """Ask the driver: a shared or a laptop's GPU may answer one question and not another."""
        if self._nvml:
            with suppress(self._nvml.NVMLError):
                return question(self._nvml, self._gpu)
        return None


def _start_nvml() -> ModuleType | None:
    with warnings.catch_warnings(), suppress(ImportError):
        warnings.simplefilter("ignore")  # the package of that name that it replaces warns
        import pynvml

        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            return pynvml
    return None
