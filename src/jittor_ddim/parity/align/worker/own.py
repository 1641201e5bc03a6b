"""Start a side under our own Python, where Jittor can be started as our engine starts it."""

import sys
from pathlib import Path

from jittor_ddim.engines.environment import limit_spinning
from jittor_ddim.parity.align.worker.serve import imported, serve


def prepare(path: Path) -> None:
    """Settle the environment, and start Jittor if the side's file imports it."""
    if imported(path) == ["jittor"]:
        from jittor_ddim.engines.jittor.runtime import start

        start("cpu")
    else:
        limit_spinning()


if __name__ == "__main__":
    side, arrays, own = (Path(argument) for argument in sys.argv[1:4])
    serve(side, arrays, own, lambda: prepare(side))
