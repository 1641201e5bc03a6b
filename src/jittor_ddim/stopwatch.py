"""How long a step took, and what else the process did meanwhile.

It runs under any Python that a side of an alignment has.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class StepWatch:
    """Times steps and notes two things that make one slow: new kernels, and Python's collector."""

    def __init__(self) -> None:
        self._collecting_since = 0.0
        self._collected = 0.0

    @contextmanager
    def running(self) -> Iterator[StepWatch]:
        """Listen to the garbage collector for as long as steps are timed."""
        gc.callbacks.append(self._listen)
        try:
            yield self
        finally:
            gc.callbacks.remove(self._listen)

    def time(self, action: Callable[[], float]) -> tuple[float, dict[str, float | int]]:
        """Return what the action returned, and its figures by the keys of ``metrics.jsonl``.

        ``step_time_s``; ``cpu_time_s``, what all threads of the process worked meanwhile;
        ``gc_time_s``, the seconds of Python's garbage collection in it; ``kernels_loaded``, how
        many shared libraries it loaded: an engine that compiles at run time loads one for each
        kernel that it compiles or finds in its cache.
        """
        libraries, worked = count_loads(), time.process_time()
        # Counting allocates, so the collector may run in it: only what it does between the two
        # readings of the clock belongs to the step.
        self._collected, start = 0.0, time.perf_counter()
        result = action()
        seconds, collected = time.perf_counter() - start, self._collected
        worked = time.process_time() - worked
        return result, {
            "step_time_s": seconds,
            "cpu_time_s": worked,
            "gc_time_s": collected,
            "kernels_loaded": count_loads() - libraries,
        }

    def _listen(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self._collected += time.perf_counter() - self._collecting_since


class _Library(ctypes.Structure):
    """The beginning of ``struct dl_phdr_info``, see dl_iterate_phdr(3)."""

    _fields_ = [
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("header_count", ctypes.c_uint16),
        ("loads", ctypes.c_ulonglong),
        ("unloads", ctypes.c_ulonglong),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.c_void_p
)


def count_loads() -> int:
    """Return how many shared libraries this process has loaded since it started.

    The dynamic linker keeps the count, and asking for it takes microseconds.
    """
    found = 0

    def note(library: Any, size: int, data: Any) -> int:
        nonlocal found
        found = library.contents.loads
        return 1  # every library tells the same count: the first is enough

    # PyDLL keeps the interpreter's lock: with CDLL a thread that imports a library would wait here
    # for the linker's lock while the callback waits for the interpreter's.
    ctypes.PyDLL(None).dl_iterate_phdr(_Callback(note), None)
    return found
