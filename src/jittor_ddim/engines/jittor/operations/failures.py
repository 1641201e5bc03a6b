"""What a kernel threw, and in which layer.

Jittor computes later than it is asked to, and keeps what could not be computed: a kernel that
throws would do so at every later call of the process. So kernels note their first failure here,
fill their results with NaN, and code that waits for results calls :func:`check_kernels`.
"""

import ctypes

from jittor_ddim.errors import MachineError


class _Failure(ctypes.Structure):
    """FailureNote of failure.h."""

    _fields_ = [("layer", ctypes.c_int64), ("text", ctypes.c_char * 256)]


_failure = _Failure()
_layers: dict[str, int] = {}


def failure_numbers(layer: str) -> dict[str, int]:
    """Return what a kernel needs to note a failure in a layer: where, and the layer's number."""
    number = _layers.setdefault(layer, len(_layers))
    return {"failure": ctypes.addressof(_failure), "layer": number}


def check_kernels() -> None:
    """Check that all kernels that have run since the last call came to their end.

    :raises MachineError: naming the layer in which the first one did not
    """
    if not _failure.text:
        return
    text, layer = _failure.text.decode(errors="replace"), list(_layers)[_failure.layer]
    _failure.text = b""
    raise MachineError(
        f"{layer}: a custom kernel failed: {text}; JITTOR_DDIM_KERNELS=plain avoids these"
    )
