"""The checks of ``ddim doctor`` that need no framework: tools, threads, memory, GPU, folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from jittor_ddim.errors import MachineError, UserError, why
from jittor_ddim.hardware import nvml
from jittor_ddim.user_cache import can_write, user_cache

Array = NDArray[np.float32]

_GB = 2**30
#: The digits train in less; the CIFAR-10 network at batch 128 takes about 9 GB.
_LEAST_MEMORY = 2 * _GB
_OTHER_FOLDER = "set JITTOR_DDIM_CACHE to a writable folder"


@dataclass(frozen=True)
class Finding:
    """The result of one check, which failed if there is a remedy."""

    name: str
    detail: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is nothing to fix."""
        return self.remedy is None


def check_compiler() -> Iterator[Finding]:
    """Check what an engine that compiles code needs."""
    yield _compiler()
    yield _headers()


def check_machine() -> Iterator[Finding]:
    """Check what every engine needs."""
    yield _threads()
    yield _memory()
    yield guarded("GPU", _gpu, "nvidia-smi must list it; or use `device` cpu")
    yield guarded("folder", _folder, _OTHER_FOLDER)


def guarded(name: str, check: Callable[[], Finding], remedy: str) -> Finding:
    """Run a check, and turn a failure of the check itself into a finding.

    :param remedy: for failures that do not name one, as this package's errors do
    """
    try:
        return check()
    except (UserError, MachineError) as error:
        return Finding(name, "does not work", str(error))
    except Exception as error:  # whatever a broken installation raises
        return Finding(name, why(error, 200), remedy)


def convolution_example() -> tuple[Array, Array, Array]:
    """Return an input (1, 2, 5, 5), a kernel (3, 2, 3, 3) and their convolution (1, 3, 3, 3)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    w = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    shifts = [
        np.einsum("bchw,oc->bohw", x[:, :, i : i + 3, j : j + 3], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    ]
    return x, w, np.sum(shifts, axis=0)


def _compiler() -> Finding:
    given = os.environ.get("cc_path")
    path = given or shutil.which("g++")
    if not path:
        return Finding("compiler", "no g++ on the PATH", "install it: apt-get install g++")
    remedy = "unset cc_path" if given else "reinstall it: apt-get install --reinstall g++"
    try:
        output = subprocess.run(
            [path, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("compiler", f"{path}: {error}", remedy)
    if output.returncode:
        return Finding("compiler", f"{path} does not run", remedy)
    return Finding("compiler", f"{path} {output.stdout.strip()}")


def _headers() -> Finding:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if header.is_file():
        return Finding("Python headers", str(header))
    package = f"python3.{sys.version_info.minor}-dev"
    return Finding(
        "Python headers", f"{header} is missing", f"install them: apt-get install {package}"
    )


def _threads() -> Finding:
    usable = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS")
    remedy = f"export OMP_NUM_THREADS={usable}"
    # A list is for nested teams; the first number is that of the outermost.
    first = (limit or "1").split(",")[0].strip()
    if not first.isdecimal() or int(first) == 0:
        return Finding("threads", f"OMP_NUM_THREADS={limit} is not a number of threads", remedy)
    if int(first) > usable:
        detail = f"OMP_NUM_THREADS={limit} with {usable} cores slows everything down"
        return Finding("threads", detail, remedy)
    return Finding("threads", f"{limit or usable} of {os.cpu_count()} logical cores")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GiB free"
    if memory.available < _LEAST_MEMORY:
        return Finding("memory", detail, "close other programs, or use a smaller batch_size")
    return Finding("memory", detail)


def _folder() -> Finding:
    folder = user_cache()
    if not can_write(folder):
        return Finding("folder", f"{folder} is not writable", _OTHER_FOLDER)
    return Finding("folder", f"{folder}, for downloads and compiled code")


def _gpu() -> Finding:
    with nvml() as library:
        if library is None or library.nvmlDeviceGetCount() == 0:
            return Finding("GPU", "none with an NVIDIA driver; the CPU is used")
        handle = library.nvmlDeviceGetHandleByIndex(0)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        name = library.nvmlDeviceGetName(handle)
        return Finding("GPU", f"{name}, {memory.free / _GB:.1f} GiB free")
