"""Which vectors oneDNN computes with here: the CPU's, or fewer where ``DNNL_MAX_CPU_ISA`` says so.

Only the library knows; what the CPU has is not what it uses.
"""

import ctypes
from functools import cache

from jittor_ddim.engines.jittor.onednn import onednn_folder

# Of dnnl_cpu_isa_t; a wider one has the bits of the narrower.
_AVX2, _AVX512, _AVX512_BF16 = 0x7, 0x27, 0xE7


def has_avx512() -> bool:
    """Tell whether oneDNN uses AVX-512."""
    return _has(_AVX512)


def has_bfloat16() -> bool:
    """Tell whether oneDNN multiplies bfloat16 by instructions for it."""
    return _has(_AVX512_BF16)


def describe_vectors() -> str:
    """Return the widest that oneDNN uses, in words."""
    names = {_AVX512_BF16: "AVX-512 with BF16", _AVX512: "AVX-512", _AVX2: "AVX2"}
    return next((name for bits, name in names.items() if _has(bits)), "less than AVX2")


def _has(bits: int) -> bool:
    return _effective_isa() & bits == bits


@cache
def _effective_isa() -> int:
    """The library's own answer; Jittor must have loaded it."""
    return ctypes.CDLL(str(onednn_folder() / "lib" / "libmkldnn.so")).dnnl_get_effective_cpu_isa()
