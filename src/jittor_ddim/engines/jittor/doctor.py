"""The checks of ``ddim doctor`` that start Jittor: what ``jittor.test`` would answer, and more."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jittor_ddim.doctor import Finding, convolution_example, guarded
from jittor_ddim.engines.jittor import runtime
from jittor_ddim.engines.kernels import use_winograd

_REINSTALL = "reinstall it: pip install --force-reinstall jittor==1.3.11.0"


def check_jittor(device: str) -> Iterator[Finding]:
    """Start Jittor on a device and look at what it computes with.

    :param device: ``auto``, ``cpu`` or ``cuda``
    """
    cuda = _cuda(device)
    yield cuda
    if not cuda.ok:
        return
    yield _python_config()
    core = guarded("Jittor's core", lambda: _start(device), _REINSTALL)
    yield core
    if not core.ok:
        return
    yield guarded("convolution", _convolution, "delete Jittor's cache folder and try again")
    yield guarded("oneDNN", _onednn, "pip install --force-reinstall onednn-cpu-gomp==2022.2.1")
    yield guarded("kernels", _kernels, "unset JITTOR_DDIM_KERNELS")
    yield guarded("gradient", _gradient, "delete Jittor's cache folder and try again")


def _python_config() -> Finding:
    script = os.environ.get("python_config_path") or runtime.find_python_config()
    if script:
        return Finding("python-config", script)
    return Finding(
        "python-config",
        f"no python3.{sys.version_info.minor}-config beside this Python",
        "apt-get install python3-dev, or set python_config_path",
    )


def _start(device: str) -> Finding:
    jittor = runtime.start(runtime.choose_device(device))
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
        return Finding("convolution", f"wrong by {error:.1e}", _REINSTALL)
    if library is None:
        return Finding(
            "convolution",
            "a generated loop, very slow",
            "unset use_mkl, so that Jittor uses oneDNN",
        )
    return Finding("convolution", f"{library[0]}, max error {error:.1e}")


def _onednn() -> Finding:
    """Which oneDNN this process has really loaded, asked of the system and of the library."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = sorted({line.split()[-1] for line in maps if "dnnl" in line.rsplit("/", 1)[-1]})
    if not loaded:
        return Finding("oneDNN", "not loaded", "unset use_mkl, so that Jittor uses oneDNN")

    class Version(ctypes.Structure):
        _fields_ = [(name, ctypes.c_int) for name in ("major", "minor", "patch")]

    function = ctypes.CDLL(loaded[0]).dnnl_version
    function.restype = ctypes.POINTER(Version)
    version = function().contents
    return Finding("oneDNN", f"{version.major}.{version.minor}.{version.patch} at {loaded[0]}")


def _kernels() -> Finding:
    """By which path a network computes here."""
    from jittor_ddim.engines.jittor.operations import multiplies_bfloat16, use_fused
    from jittor_ddim.engines.jittor.operations.vectors import describe_vectors, has_avx512

    if not use_fused():
        return Finding("kernels", "Jittor's own")
    order = "channels last" if has_avx512() else "channels in eights"
    threes = "by winograd.h" if use_winograd(128, 128) else "by oneDNN too"
    low = "bfloat16 too" if multiplies_bfloat16() else "no bfloat16"
    return Finding(
        "kernels", f"ours, {order}, by oneDNN with {describe_vectors()}; 3x3 {threes}; {low}"
    )


def _gradient() -> Finding:
    import jittor as jt

    x = jt.array(np.array([1.0, 2.0, 3.0], np.float32))
    gradient = jt.grad((x * x).sum(), x).numpy()
    if not np.allclose(gradient, [2, 4, 6]):
        return Finding("gradient", f"of sum(x^2) at 1, 2, 3 is {gradient}", _REINSTALL)
    return Finding("gradient", "right")


def _cuda(device: str) -> Finding:
    missing = runtime.missing_for_cuda()
    if not missing:
        return Finding("Jittor on CUDA", "everything is there")
    detail = f"missing: {', '.join(missing)}"
    remedy = "install what is missing, or use --device cpu" if device == "cuda" else None
    return Finding("Jittor on CUDA", detail, remedy)
