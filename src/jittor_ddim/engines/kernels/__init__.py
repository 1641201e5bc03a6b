"""C++ that both engines compute with on a CPU, and where it does.

``winograd.h``: 3x3 convolutions, nine tenths of the network's work, with 2.25 times fewer
multiplications than the frameworks' own. ``JITTOR_DDIM_KERNELS=direct`` in the environment turns
them off.
"""

import os
from functools import cache
from pathlib import Path

from jittor_ddim.hardware import cpu_features

FOLDER = Path(__file__).parent
#: The files to include, in this order.
WINOGRAD = ("panels", "winograd")
#: panels.h: the channels of a panel; winograd.h: the numbers of a transformed filter.
_PANEL, _PLACES = 16, 16


def use_winograd(in_channels: int, out_channels: int) -> bool:
    """Tell whether winograd.h computes convolutions between so many channels here."""
    fits = in_channels % _PANEL == out_channels % _PANEL == 0
    return fits and _cpu_fits() and os.environ.get("JITTOR_DDIM_KERNELS") in (None, "", "fused")


def packed_size(in_channels: int, out_channels: int) -> int:
    """Return of how many numbers packed filters consist."""
    return _PLACES * (in_channels * out_channels + _PANEL)


@cache
def _cpu_fits() -> bool:
    return {"avx2", "fma"} <= cpu_features()
