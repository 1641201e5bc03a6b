"""The page itself: sections in reading order, everything inside one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jittor_ddim.compare.report import costs, tables
from jittor_ddim.compare.report.pictures import PictureSet
from jittor_ddim.compare.report.plots import Plot
from jittor_ddim.compare.report.series import MOST_STEPS, STRETCHES, thinned
from jittor_ddim.compare.report.tables import Table
from jittor_ddim.compare.report.verdict import findings
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison
from jittor_ddim.pages.drawings import ordinal, style_sheet

_FOLDER = Path(__file__).parent
#: The plots of each section.
_PLOTS = {
    "alignment": ["outputs", "gradients"],
    "training": ["loss", "loss_difference"],
    "time": ["step_times", "step_time_cdf", "phases"],
    "batches": ["train_throughput", "sample_throughput"],
    "resources": ["memory", "utilization", "power"],
}


@dataclass
class Section:
    """A heading and what stands under it, in this order."""

    name: str
    title: str
    notes: list[str]
    plots: list[Plot]
    tables: list[Table]
    pictures: Sequence[PictureSet]
    long_tables: list[Table]  # folded away


def render_page(
    comparison: Comparison, plots: dict[str, Plot], pictures: list[PictureSet], words: Words
) -> str:
    """Return the HTML of the report."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    longest = max((len(s.training.step) for s in comparison.sides if s.training), default=0)
    return environment.get_template("template.html").render(
        comparison=comparison,
        words=words,
        findings=findings(comparison, words),
        glance=costs.glance_table(comparison, words),
        sections=_sections(comparison, plots, pictures, words),
        ordinal=ordinal,
        style=style_sheet(),
        data=embedded_data(comparison),
        data_note=words(
            "note.data_thinned" if longest > MOST_STEPS else "note.data", most=MOST_STEPS
        ),
    )


def embedded_data(comparison: Comparison) -> str:
    """Return results.json, long series thinned, as the text of a script element."""
    sides = [
        side.model_copy(update={"training": side.training and thinned(side.training, MOST_STEPS)})
        for side in comparison.sides
    ]
    data = comparison.model_copy(update={"sides": sides}).model_dump_json()
    # No `<`, so nothing in the data can end the element or begin a comment.
    return data.replace("<", "\\u003c")


def _sections(
    comparison: Comparison, plots: dict[str, Plot], pictures: list[PictureSet], words: Words
) -> list[Section]:
    """The sections for which there is anything to show."""
    sections: list[Section] = []

    def add(
        name: str, notes: list[str], found: list[Table | None], long_tables: Sequence[Table] = ()
    ) -> None:
        drawn = [plots[plot] for plot in _PLOTS.get(name, []) if plot in plots]
        shown = [table for table in found if table]
        sets = pictures if name == "pictures" else []
        if drawn or shown or sets or long_tables:
            title = words(f"section.{name}")
            sections.append(Section(name, title, notes, drawn, shown, sets, list(long_tables)))

    alignment = comparison.alignment
    if alignment:
        check = tables.check_table(comparison, words) if alignment.checks else None
        add("alignment", [words("note.alignment")], [check], _differences(comparison, words))
    add("pictures", [words("note.pictures")], [])
    add("training", [], [])
    if any(side.training for side in comparison.sides):
        found = [f(comparison, words) for f in (tables.step_table, tables.cause_table)]
        add(
            "time", _time_notes(comparison, words), [*found, tables.phase_table(comparison, words)]
        )
    found = [tables.ratio_table(comparison, words) if comparison.ratios else None]
    found += [costs.time_table(comparison, kind, words) for kind in ("train", "sample")]
    add("batches", [words("note.batches")], found)
    gpu = any(side.training and side.training.gpu_memory_mb for side in comparison.sides)
    gpu = gpu or any(cost.gpu for side in comparison.sides for cost in side.costs)
    found = [costs.resource_table(comparison, kind, words) for kind in ("train", "sample")]
    add("resources", [words("note.gpu" if gpu else "note.no_gpu")], found)
    if comparison.kind == "engines":
        both = costs.earlier_training_table, costs.earlier_sampling_table
        add("earlier", [words("note.earlier")], [table(comparison, words) for table in both])
    both = tables.protocol_table, tables.environment_table
    add("environment", [], [table(comparison, words) for table in both])
    return sections


def _differences(comparison: Comparison, words: Words) -> list[Table]:
    alignment = comparison.alignment
    if alignment is None:
        return []
    bounds: dict[str, float] = {check.name: check.bound for check in alignment.checks}
    parts = {"outputs": alignment.outputs, "gradients": alignment.gradients}
    return [
        tables.difference_table(name, found, bounds.get(name), words)
        for name, found in parts.items()
        if found
    ]


def _time_notes(comparison: Comparison, words: Words) -> list[str]:
    warmup = [
        words("note.warmup_side", name=side.name, count=side.warmup) for side in comparison.sides
    ]
    sides = words.listing(warmup)
    return [words("note.warmup", sides=sides), words("note.thinned", stretches=STRETCHES)]
