"""What the layers compute with, in two forms of the same names.

:mod:`.plain` says every operation in Jittor's own words, on (B, C, H, W). It runs everywhere, and
it is the oracle of :mod:`.fused`: this package's kernels, on channels in blocks.
"""

from types import ModuleType

import jittor as jt

from jittor_ddim.engines.jittor.operations import fused, plain
from jittor_ddim.engines.jittor.operations.code import on_gpu
from jittor_ddim.engines.jittor.operations.plain import Padding
from jittor_ddim.engines.jittor.operations.vectors import has_bfloat16
from jittor_ddim.engines.kernels import wanted_kernels

__all__ = ["Padding", "multiplies_bfloat16", "operations", "updates_together", "use_fused"]


def operations() -> ModuleType:
    """Return the fused operations where they run and are wanted, else the plain ones."""
    return fused if use_fused() else plain


def use_fused() -> bool:
    """Tell whether this package's kernels run here and are not turned off.

    They need oneDNN on a CPU, and Jittor's modules of cuDNN and cuBLAS on a GPU.
    """
    extern = jt.compile_extern
    libraries = (extern.cudnn and extern.cublas) if on_gpu() else extern.use_mkl
    return wanted_kernels() != "plain" and bool(libraries)


def updates_together() -> bool:
    """Tell whether an optimiser's rules are applied to many parameters in one operation."""
    return use_fused() and on_gpu()


def multiplies_bfloat16() -> bool:
    """Tell whether convolutions can round what they multiply to bfloat16 here.

    GPUs have matrix units for it, and for TF32, from compute capability 8.0 on.
    """
    if on_gpu():
        # A Jittor that was compiled for CPUs, as in tests, knows of no GPUs.
        architectures = getattr(jt.flags, "cuda_archs", ())
        return use_fused() and all(number >= 80 for number in architectures)
    return use_fused() and has_bfloat16()
