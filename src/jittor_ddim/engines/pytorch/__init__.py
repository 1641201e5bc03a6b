"""PyTorch: where it differs from the other engines.

Most modules of this package import torch when they are imported, so nothing imports them before
:func:`_start` has started it.
"""

import os
from collections.abc import Iterator

from jittor_ddim.doctor import Finding
from jittor_ddim.engines.base import Descriptor, Engine
from jittor_ddim.engines.environment import take_share
from jittor_ddim.engines.precision import choose_device
from jittor_ddim.ranks import this_rank


def _start(device: str, precision: str, compile: bool) -> Engine:
    from jittor_ddim.engines.pytorch import runtime

    rank = this_rank()
    if not rank.is_alone:
        # It would print a C++ stack each time that one rank does not find another yet.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    take_share(rank, device)
    runtime.start()
    device = choose_device(DESCRIPTOR.title, device, runtime.missing_for_cuda)

    from jittor_ddim.engines.pytorch.primitives import PyTorchEngine

    return PyTorchEngine(device, precision, compile)


def _check(device: str) -> Iterator[Finding]:
    from jittor_ddim.engines.pytorch.doctor import check_pytorch

    return check_pytorch(device)


DESCRIPTOR = Descriptor(
    name="pytorch",
    title="PyTorch",
    module="torch",
    install="PyTorch is not installed: pip install 'jittor-ddim[pytorch]'; the jittor engine "
    "works without it",
    compiles=True,
    launchers={
        "torchrun": "torchrun --nproc_per_node N -m jittor_ddim train",
        "srun": "srun -n N ddim train",
    },
    start=_start,
    check=_check,
)
