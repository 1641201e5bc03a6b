"""The process of one engine: ``python -m jittor_ddim.sweep.worker FOLDER EXP WEIGHTS ENGINE``.

WEIGHTS is the file of ``--inception``, or empty. The tasks are the methods of
:class:`~jittor_ddim.sweep.session.Session`.
"""

import sys
from pathlib import Path

from jittor_ddim.parity.layout import PLAN
from jittor_ddim.parity.serve import serve
from jittor_ddim.sweep.plan import Plan
from jittor_ddim.sweep.session import Session


def main() -> None:
    """Serve on the standard streams."""
    folder, exp = map(Path, sys.argv[1:3])
    weights, engine = sys.argv[3:]

    def start() -> Session:
        plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
        return Session(engine, plan, folder, exp, Path(weights) if weights else None)

    serve(folder / engine, start)


if __name__ == "__main__":
    main()
