"""Start PyTorch: with float32 that is float32, and without Jittor in the same process."""

import sys
from types import ModuleType

from jittor_ddim.engines.threads import limit_spinning
from jittor_ddim.errors import EngineError


def choose_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``; PyTorch must have been started.

    :param wanted: ``cpu``, ``cuda`` or ``auto`` (CUDA where PyTorch finds it)
    :raises EngineError: if CUDA is wanted and something is missing, naming it
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise EngineError(f"device must be auto, cpu or cuda, got {wanted!r}")
    missing = missing_for_cuda() if wanted != "cpu" else []
    if wanted == "cuda" and missing:
        raise EngineError(f"device cuda: PyTorch cannot use it here, missing: {missing[0]}")
    return "cpu" if wanted == "cpu" or missing else "cuda"


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
    import torch

    # cuDNN's convolutions would round their inputs to TensorFloat-32's ten bits.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch
