"""C++ that both engines compute with on a CPU, and when they do.

winograd.h: 3x3 convolutions, nine tenths of the network's work, with 2.25 times fewer
multiplications than the frameworks' own.
"""

import os
from pathlib import Path

from jittor_ddim.errors import EngineError
from jittor_ddim.hardware import cpu_features

_FOLDER = Path(__file__).parent
#: The files to include, in this order.
WINOGRAD = (_FOLDER / "panels.h", _FOLDER / "winograd.h")
#: Equal to panels.h's PANEL.
_PANEL = 16

_CHOICES = ("all", "direct", "plain")


def wanted_kernels() -> str:
    """Return which of this package's kernels to use: ``$JITTOR_DDIM_KERNELS``, else ``all``.

    ``direct``: all but winograd.h; ``plain``: none.

    :raises EngineError: if it is none of these
    """
    wanted = os.environ.get("JITTOR_DDIM_KERNELS") or "all"
    if wanted not in _CHOICES:
        raise EngineError(f"JITTOR_DDIM_KERNELS must be {', '.join(_CHOICES)}; it is {wanted!r}")
    return wanted


def use_winograd(in_channels: int, out_channels: int) -> bool:
    """Tell whether winograd.h computes convolutions between so many channels on this CPU."""
    in_panels = in_channels % _PANEL == out_channels % _PANEL == 0
    return in_panels and {"avx2", "fma"} <= cpu_features() and wanted_kernels() == "all"
