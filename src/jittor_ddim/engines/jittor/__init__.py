"""Jittor: where it differs from the other engines.

Most modules of this package import jittor when they are imported, so nothing imports them before
:func:`_start` has started it.
"""

from collections.abc import Iterator

from jittor_ddim.doctor import Finding
from jittor_ddim.engines.base import Descriptor, Engine
from jittor_ddim.engines.environment import take_share
from jittor_ddim.engines.precision import choose_device
from jittor_ddim.errors import EngineError
from jittor_ddim.ranks import this_rank


def _start(device: str, precision: str, compile: bool) -> Engine:
    from jittor_ddim.engines.jittor import runtime

    device = choose_device(DESCRIPTOR.title, device, runtime.missing_for_cuda)
    if precision == "tf32" and device != "cuda":
        raise EngineError("precision tf32: only NVIDIA GPUs compute in it, and the device is cpu")
    take_share(this_rank(), device)
    runtime.start(device, allow_tf32=precision == "tf32")

    from jittor_ddim.engines.jittor.primitives import JittorEngine

    return JittorEngine(device, precision)


def _check(device: str) -> Iterator[Finding]:
    from jittor_ddim.engines.jittor.doctor import check_jittor

    return check_jittor(device)


DESCRIPTOR = Descriptor(
    name="jittor",
    title="Jittor",
    module="jittor",
    install="Jittor is not installed: pip install jittor==1.3.11.0 'numpy<2'",
    compiles=False,  # it compiles every graph anyway
    launchers={"mpirun": "mpirun -np N ddim train"},
    start=_start,
    check=_check,
)
