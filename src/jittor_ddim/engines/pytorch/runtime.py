"""Start PyTorch: without Jittor in the same process, and with float32 that is float32."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from jittor_ddim.engines.environment import LIBRARIES, leave_out, limit_spinning
from jittor_ddim.errors import EngineError


def missing_for_cuda() -> list[str]:
    """Return what PyTorch's CUDA path lacks on this machine; an empty list if nothing."""
    import torch

    if not torch.backends.cuda.is_built():
        return [f"a CUDA build of PyTorch (this one, {torch.__version__}, is for the CPU)"]
    if not torch.cuda.is_available():
        return ["an NVIDIA GPU with its driver"]
    return []


def start() -> ModuleType:
    """Import PyTorch and return the module; later calls return the same one.

    :raises EngineError: if Jittor is loaded
    """
    if "jittor" in sys.modules:
        raise EngineError("jittor is loaded in this process; PyTorch needs a process of its own")
    limit_spinning()
    leave_out(LIBRARIES)
    import torch

    return torch


def set_tf32(wanted: bool, device: str) -> None:
    """Let the GPU round factors to TensorFloat-32's ten bits, or forbid it, in this process.

    PyTorch's default lets cuDNN's convolutions do so.

    :raises EngineError: if it is wanted without a GPU
    """
    import torch

    if wanted and device != "cuda":
        raise EngineError("precision tf32: only NVIDIA GPUs compute in it, and the device is cpu")
    torch.backends.cudnn.allow_tf32 = wanted
    torch.backends.cuda.matmul.allow_tf32 = wanted


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute in true float32 meanwhile, whatever :func:`set_tf32` said."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def cpu_multiplies_bfloat16() -> bool:
    """Tell whether PyTorch's oneDNN multiplies bfloat16 by instructions for it."""
    import torch

    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
