"""``python -m jittor_ddim.jobs.sweep_worker FOLDER EXP WEIGHTS ENGINE``: a sweep's process.

WEIGHTS is the file of ``--inception``, or empty. The tasks are the methods of
:class:`~jittor_ddim.sweep.session.Session`.
"""

import sys
from functools import cache
from pathlib import Path

from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.evaluation.extractor import Extractor, ExtractorChoice
from jittor_ddim.evaluation.reference import obtain_reference
from jittor_ddim.metrics.statistics_files import write_statistics
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
        is_compiled = plan.compile and engine == "pytorch"
        choice = EngineChoice(engine, plan.device, plan.precision, is_compiled)
        size = plan.config.data.image_size, plan.config.data.image_size

        @cache
        def extractor() -> Extractor:
            path = Path(weights) if weights else None
            return ExtractorChoice(plan.features, plan.mode, path).load(choice, size)

        def write_reference(path: Path) -> None:
            found = extractor()
            reference = obtain_reference(plan.reference, found, plan.config, exp, size)
            write_statistics(
                path, reference.moments, found.identity, reference.name, reference.remarks
            )

        return Session(choice.start(), plan, folder, extractor, write_reference)

    serve(folder / engine, start)


if __name__ == "__main__":
    main()
