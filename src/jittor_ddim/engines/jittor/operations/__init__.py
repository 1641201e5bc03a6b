"""What the layers compute with, in two forms of the same names.

:mod:`.plain` says every operation in Jittor's own words, on (B, C, H, W). It runs everywhere, and
it is the oracle of :mod:`.fused`: kernels of ours around oneDNN for a CPU, on channels in blocks.
``JITTOR_DDIM_KERNELS=plain`` in the environment turns ours off.
"""

import os
from types import ModuleType

import jittor as jt

from jittor_ddim.engines.jittor.operations import fused, plain


def operations() -> ModuleType:
    """Return the fused operations where they run and are wanted, else the plain ones."""
    return fused if use_fused() else plain


def use_fused() -> bool:
    """Tell whether our kernels run here, on a CPU with oneDNN, and nobody turned them off."""
    wanted = os.environ.get("JITTOR_DDIM_KERNELS") != "plain"
    return wanted and not jt.flags.use_cuda and bool(jt.compile_extern.use_mkl)
