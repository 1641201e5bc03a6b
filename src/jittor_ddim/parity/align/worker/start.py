"""Start a side under any Python: ``python start.py SIDE ARRAYS OWN``.

Only these files of the package are imported, whatever else that Python lacks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType


def stand_in(package: Path) -> None:
    """Let our own modules be imported without running the package's ``__init__``."""
    for name in ("", ".parity", ".parity.align"):
        module = ModuleType(f"jittor_ddim{name}")
        module.__path__ = [str(package.joinpath(*name.split(".")))]
        sys.modules[module.__name__] = module


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose names are not for the side
    os.environ.setdefault("FIX_TORCH_ERROR", "0")  # or Jittor imports the other framework
    stand_in(Path(__file__).resolve().parents[3])
    from jittor_ddim.parity.align.worker.serve import serve

    side, arrays, own = (Path(argument) for argument in sys.argv[1:4])
    serve(side, arrays, own)
