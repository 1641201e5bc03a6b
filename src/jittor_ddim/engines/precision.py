"""In which numbers convolutions and matrix products are computed."""

from jittor_ddim.errors import EngineError
from jittor_ddim.hardware import cpu_features

#: tf32 is float32 with factors rounded to ten bits of mantissa, by a GPU's matrix units.
PRECISIONS = ("float32", "tf32", "bfloat16")


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    :raises EngineError: naming those that are
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def cpu_has_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 numbers, and not only a program for it."""
    return bool(cpu_features() & {"avx512_bf16", "amx_bf16"})
