"""winograd_functions.cc, compiled once for each kind of machine and version of it."""

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

from jittor_ddim.engines.kernels import WINOGRAD
from jittor_ddim.hardware import cpu_features
from jittor_ddim.user_cache import user_cache

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("winograd_functions.cc")
_FLAGS = ("-O3", "-march=native", "-std=c++14", "-fopenmp", "-fPIC", "-shared")
_SECONDS = 300


@cache
def winograd_functions() -> ctypes.CDLL | None:
    """Return the compiled functions, or None after one warning where there can be none."""
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    path = user_cache() / "kernels" / f"winograd-{_fingerprint(compiler)}.so"
    try:
        if not path.is_file():
            _compile(compiler, path)
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged, or made where the system's libraries are others
            _compile(compiler, path)
            return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or "").strip() or str(error)
        _log.warning(
            "PyTorch's own convolutions are used, and slower: winograd.h does not compile: %s",
            said.splitlines()[-1],
        )
        return None


def _fingerprint(compiler: list[str]) -> str:
    """What the library depends on, in a few digits."""
    texts = [path.read_text() for path in (*WINOGRAD, _SOURCE)]
    texts += [*compiler, *_FLAGS, *_openmp(), *sorted(cpu_features())]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _compile(compiler: list[str], path: Path) -> None:
    """Make the library.

    :raises OSError: if there is no such compiler, or no place for the file
    :raises subprocess.SubprocessError: if the compiler fails
    """
    if shutil.which(compiler[0]) is None:
        raise OSError(f"no {compiler[0]} found; install it, or name a GCC in CXX")
    _log.info("Compiling the convolutions, once (a few seconds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        files = [f"-I{WINOGRAD[0].parent}", str(_SOURCE), "-o", str(made), *_openmp()]
        subprocess.run(
            [*compiler, *_FLAGS, *files],
            check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS,
        )  # fmt: skip
        os.replace(made, path)


def _openmp() -> list[str]:
    """The OpenMP library that PyTorch brings, if it does: one team of threads serves both.

    As it has all that is needed, the compiler's own is left out.
    """
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return ["-Wl,--as-needed", str(found[0])] if found else []
