"""Compile winograd.cc, once for each machine and version of it, and load it into PyTorch."""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

from jittor_ddim.engines.kernels import FOLDER, WINOGRAD
from jittor_ddim.hardware import describe_cpu
from jittor_ddim.user_cache import user_cache

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("winograd.cc")
_FLAGS = ("-O3", "-march=native", "-std=c++14", "-fopenmp", "-fPIC", "-shared")


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled functions; None, and why is said once, where that is impossible."""
    compiler = os.environ.get("CXX") or "g++"
    try:
        path = _compiled(compiler)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        _log.warning(
            "PyTorch's own convolutions are used, which are slower: ours could not be compiled "
            "by %s: %s",
            compiler,
            output.strip().splitlines()[-1],
        )
        return None


def _compiled(compiler: str) -> Path:
    """The library's file.

    :raises OSError: if there is no such compiler, or no place for the file
    :raises subprocess.SubprocessError: if the compiler fails
    """
    sources = [*(FOLDER / f"{name}.h" for name in WINOGRAD), _SOURCE]
    threads = _openmp()
    what = [*(path.read_text() for path in sources), compiler, *_FLAGS, *threads, describe_cpu()]
    name = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
    path = user_cache() / "kernels" / f"winograd-{name}.so"
    if path.is_file():
        return path
    if shutil.which(compiler) is None:
        raise OSError(f"there is no {compiler}; install it, or name another in CXX")
    _log.info("Compiling the convolutions, once (a few seconds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *_FLAGS, f"-I{FOLDER}", str(_SOURCE), "-o", str(made), *threads]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        os.replace(made, path)
    return path


def _openmp() -> list[str]:
    """The OpenMP library that PyTorch brings, if it does: one team of threads serves both."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return ["-Wl,--as-needed", str(found[0])] if found else []
