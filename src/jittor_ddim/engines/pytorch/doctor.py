"""The checks of ``ddim doctor`` that start PyTorch."""

from collections.abc import Iterator

import numpy as np

from jittor_ddim.doctor import Finding, convolution_example, guarded
from jittor_ddim.engines import check_engine
from jittor_ddim.engines.kernels import use_winograd
from jittor_ddim.engines.pytorch import runtime

_REINSTALL = "reinstall it: pip install --force-reinstall 'jittor-ddim[pytorch]'"


def check_pytorch(device: str) -> Iterator[Finding]:
    """Start PyTorch on a device, and check with what it computes, and that it is right.

    :param device: ``auto``, ``cpu`` or ``cuda``
    """
    core = guarded("PyTorch", _start, _REINSTALL)
    yield core
    if not core.ok:
        return
    cuda = _cuda(device)
    yield cuda
    if not cuda.ok:
        return
    yield guarded("convolution", _convolution, _REINSTALL)
    yield guarded("kernels", _kernels, "set JITTOR_DDIM_KERNELS=direct")
    yield guarded("gradient", _gradient, _REINSTALL)


def _start() -> Finding:
    check_engine("pytorch")
    return Finding("PyTorch", runtime.start().__version__)


def _convolution() -> Finding:
    """A convolution must come out right."""
    import torch

    x, w, expected = convolution_example()
    found = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
    error = float(np.abs(found - expected).max())
    if error > 1e-4:
        return Finding("convolution", f"wrong by {error:.1e}", _REINSTALL)
    library = "oneDNN" if torch.backends.mkldnn.is_available() else "PyTorch's own"
    return Finding("convolution", f"{library}, max error {error:.1e}")


def _kernels() -> Finding:
    """Which kernels a network uses on a CPU; an earlier warning says why not winograd.h."""
    import torch

    from jittor_ddim.engines.pytorch.compiled import winograd_functions

    ours = use_winograd(128, 128) and winograd_functions() is not None
    threes = "with winograd.h" if ours else "PyTorch's own too"
    low = "bfloat16" if runtime.cpu_multiplies_bfloat16() else "no bfloat16"
    widest = torch.backends.cpu.get_cpu_capability()
    return Finding("kernels", f"PyTorch's own with {widest}; 3x3 on a CPU {threes}; {low}")


def _gradient() -> Finding:
    import torch

    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad((x * x).sum(), x)
    if not np.allclose(gradient.numpy(), [2, 4, 6]):
        return Finding("gradient", f"of sum(x^2) at 1, 2, 3 is {gradient.tolist()}", _REINSTALL)
    return Finding("gradient", "correct")


def _cuda(device: str) -> Finding:
    missing = runtime.missing_for_cuda()
    if not missing:
        return Finding("PyTorch on CUDA", "everything is there")
    remedy = "install what is missing, or use `device` cpu" if device == "cuda" else None
    return Finding("PyTorch on CUDA", f"missing: {missing[0]}", remedy)
