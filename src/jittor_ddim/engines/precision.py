"""The device on which an engine computes, and the numbers of convolutions and products."""

from collections.abc import Callable, Sequence

from jittor_ddim.errors import EngineError
from jittor_ddim.hardware import cpu_features

DEVICES = ("auto", "cpu", "cuda")
#: tf32 is float32 with factors rounded to ten bits of mantissa, by a GPU's matrix units.
PRECISIONS = ("float32", "tf32", "bfloat16")


def choose_device(title: str, wanted: str, missing_for_cuda: Callable[[], Sequence[str]]) -> str:
    """Return ``cpu`` or ``cuda``.

    :param title: of the engine
    :param wanted: ``cpu``, ``cuda`` or ``auto`` (CUDA if nothing is missing)
    :param missing_for_cuda: returns what the engine lacks to compute on a GPU
    :raises EngineError: if CUDA is wanted and something is missing, naming it
    """
    if wanted not in DEVICES:
        raise EngineError(f"device must be auto, cpu or cuda, got {wanted!r}")
    missing = missing_for_cuda() if wanted != "cpu" else []
    if wanted == "cuda" and missing:
        raise EngineError(f"device cuda: {title} cannot use it, missing: {', '.join(missing)}")
    return "cpu" if wanted == "cpu" or missing else "cuda"


def check_precision(precision: str) -> None:
    """Refuse an unknown precision.

    :raises EngineError: naming those that exist
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def cpu_has_bfloat16() -> bool:
    """Tell whether this CPU has instructions to multiply bfloat16 numbers."""
    return bool(cpu_features() & {"avx512_bf16", "amx_bf16"})
