"""What a sweep leaves for its reader: a Markdown table, CSV, JSON and plots."""

from pathlib import Path

from jittor_ddim.atomic import write_atomic
from jittor_ddim.sweep.report.plots import write_plots
from jittor_ddim.sweep.report.table import comma_separated, markdown
from jittor_ddim.sweep.results import Sweep


def write_report(sweep: Sweep, folder: Path) -> list[Path]:
    """Write ``sweep.md``, ``sweep.csv``, ``sweep.json`` and the plots; return the files."""
    texts = {
        "sweep.md": markdown(sweep),
        "sweep.csv": comma_separated(sweep),
        "sweep.json": sweep.model_dump_json(indent=1),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    return [folder / name for name in texts] + write_plots(sweep, folder)
