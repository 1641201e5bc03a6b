"""The process of one engine: ``python -m jittor_ddim.compare.worker ENGINE FOLDER EXP``.

Its tasks are the methods of :class:`~jittor_ddim.compare.session.Session`.
"""

import sys
from pathlib import Path

from jittor_ddim.compare.plan import Plan
from jittor_ddim.compare.session import Session
from jittor_ddim.parity.layout import PLAN
from jittor_ddim.parity.serve import serve


def main() -> None:
    """Serve on the standard streams."""
    engine, folder, exp = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

    def start() -> Session:
        plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
        return Session(engine, plan, folder, exp)

    serve(folder / engine, start)


if __name__ == "__main__":
    main()
