"""The checks of ``ddim doctor`` that start Jittor: those of ``jittor.test``, and more."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jittor_ddim.doctor import Finding, check_compiler, convolution_example, guarded
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.engines.jittor.cuda.toolkit import NoToolkitError, usable_toolkit
from jittor_ddim.engines.kernels import use_winograd
from jittor_ddim.engines.precision import choose_device


def check_jittor(device: str) -> Iterator[Finding]:
    """Start Jittor on a device, and check with what it computes, and that it is right.

    :param device: ``auto``, ``cpu`` or ``cuda``
    """
    cuda = _cuda(device)
    yield cuda
    if not cuda.ok:
        return
    tools = [*check_compiler(), _python_config()]
    yield from tools
    if not all(tool.ok for tool in tools):
        return  # Jittor cannot start without them, and would blame something else
    core = guarded("Jittor's core", lambda: _start(device), _compile_anew())
    yield core
    if not core.ok:
        return
    from jittor_ddim.engines.jittor.operations.code import on_gpu

    yield guarded("convolution", _convolution, _compile_anew())
    if not on_gpu():
        yield guarded("oneDNN", _onednn, _compile_anew())
    yield guarded("kernels", _kernels, "unset JITTOR_DDIM_KERNELS")
    yield guarded("gradient", _gradient, _compile_anew())


def _compile_anew() -> str:
    return f"delete {runtime.compiled_folders()} and try again"


def _python_config() -> Finding:
    if given := os.environ.get("python_config_path"):
        if os.path.isfile(given):
            return Finding("python-config", given)
        return Finding("python-config", f"no such file: {given}", "unset python_config_path")
    if script := runtime.find_python_config():
        return Finding("python-config", script)
    python = f"python3.{sys.version_info.minor}"
    return Finding(
        "python-config",
        f"no {python}-config beside this Python",
        f"install it: apt-get install {python}-dev, or set python_config_path to its path",
    )


def _start(device: str) -> Finding:
    chosen = choose_device("Jittor", device, runtime.missing_for_cuda)
    jittor = runtime.start(chosen)
    return Finding("Jittor's core", f"{jittor.__version__}, compiled in {jittor.flags.cache_path}")


def _convolution() -> Finding:
    """A convolution must come out right, and through a library rather than a generated loop."""
    import jittor as jt

    x, w, expected = convolution_example()
    with jt.profile_scope() as rows:
        found = jt.nn.conv2d(jt.array(x), jt.array(w)).numpy()
    error = float(np.abs(found - expected).max())
    operations = " ".join(str(row[0]) for row in rows[1:])
    library = re.search(r"(mkl|cudnn)_conv\w*", operations)
    if error > 1e-4:
        return Finding("convolution", f"wrong by {error:.1e}", _compile_anew())
    if library is None:
        return Finding("convolution", "a generated loop, which is very slow", _compile_anew())
    return Finding("convolution", f"{library[0]}, max error {error:.1e}")


def _onednn() -> Finding:
    """Which oneDNN this process has really loaded, asked of the system and of the library."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = sorted({line.split()[-1] for line in maps if "dnnl" in line.rsplit("/", 1)[-1]})
    if not loaded:
        return Finding("oneDNN", "not loaded", _compile_anew())

    class Version(ctypes.Structure):
        _fields_ = [(name, ctypes.c_int) for name in ("major", "minor", "patch")]

    function = ctypes.CDLL(loaded[0]).dnnl_version
    function.restype = ctypes.POINTER(Version)
    version = function().contents
    return Finding("oneDNN", f"{version.major}.{version.minor}.{version.patch} at {loaded[0]}")


def _kernels() -> Finding:
    """By which path a network computes here."""
    from jittor_ddim.engines.jittor.operations import multiplies_bfloat16, use_fused
    from jittor_ddim.engines.jittor.operations.code import on_gpu
    from jittor_ddim.engines.jittor.operations.vectors import describe_vectors, has_avx512

    if not use_fused():
        return Finding("kernels", "Jittor's own")
    if on_gpu():
        low = "tf32 and bfloat16" if multiplies_bfloat16() else "float32 only"
        return Finding("kernels", f"this package's, with cuDNN and cuBLAS; {low}")
    order = "channels last" if has_avx512() else "channels in blocks of 8"
    threes = "with winograd.h" if use_winograd(128, 128) else "with oneDNN too"
    low = "bfloat16" if multiplies_bfloat16() else "no bfloat16"
    return Finding(
        "kernels",
        f"this package's, {order}, with oneDNN and {describe_vectors()}; 3x3 {threes}; {low}",
    )


def _gradient() -> Finding:
    import jittor as jt

    x = jt.array(np.array([1.0, 2.0, 3.0], np.float32))
    gradient = jt.grad((x * x).sum(), x).numpy()
    if not np.allclose(gradient, [2, 4, 6]):
        return Finding("gradient", f"of sum(x^2) at 1, 2, 3 is {gradient}", _compile_anew())
    return Finding("gradient", "correct")


def _cuda(device: str) -> Finding:
    try:
        return Finding("Jittor on CUDA", str(usable_toolkit()))
    except NoToolkitError as reason:
        remedy = "install what is missing, or use `device` cpu" if device == "cuda" else None
        return Finding("Jittor on CUDA", f"missing: {reason}", remedy)
