"""The page itself: sections in reading order, everything inside one file."""

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jittor_ddim.compare.report import costs, earlier, tables
from jittor_ddim.compare.report.pictures import PictureSet
from jittor_ddim.compare.report.plots import Plot
from jittor_ddim.compare.report.series import MOST_STEPS, STRETCHES, thinned
from jittor_ddim.compare.report.tables import Table
from jittor_ddim.compare.report.verdict import findings
from jittor_ddim.compare.report.words import Words, ordinal
from jittor_ddim.compare.results import Comparison

_FOLDER = Path(__file__).parent


@dataclass
class Section:
    """A heading and what stands under it, in this order."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[PictureSet] = field(default_factory=list)
    long_tables: list[Table] = field(default_factory=list)  # folded away

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.plots or self.tables or self.pictures or self.long_tables)


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
    sections = _sections(comparison, plots, pictures, words)
    return environment.get_template("template.html").render(
        comparison=comparison,
        words=words,
        findings=findings(comparison, words),
        glance=costs.glance_table(comparison, words),
        sections=[section for section in sections if not section.empty],
        ordinal=ordinal,
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        data=embedded_data(comparison),
        data_note=_data_note(comparison, words),
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
    parts = [
        _alignment(comparison, words),
        Section("pictures", words("section.pictures"), [words("note.pictures")]),
        Section("training", words("section.training")),
        _time(comparison, words),
        _batches(comparison, words),
        _resources(comparison, words),
        _earlier(comparison, words),
        _environment(comparison, words),
    ]
    places = {
        "alignment": ["outputs", "gradients"],
        "training": ["loss", "loss_difference"],
        "time": ["step_times", "step_time_cdf", "phases"],
        "batches": ["train_throughput", "sample_throughput"],
        "resources": ["memory", "utilization", "power"],
    }
    for section in parts:
        section.plots += [plots[name] for name in places.get(section.name, []) if name in plots]
        if section.name == "pictures":
            section.pictures = pictures
    return parts


def _alignment(comparison: Comparison, words: Words) -> Section:
    section = Section("alignment", words("section.alignment"))
    alignment = comparison.alignment
    if alignment is None:
        return section
    section.notes.append(words("note.alignment"))
    if alignment.checks:
        section.tables.append(tables.check_table(comparison, words))
    bounds: dict[str, float] = {check.name: check.bound for check in alignment.checks}
    parts = {"outputs": alignment.outputs, "gradients": alignment.gradients}
    section.long_tables += [
        tables.difference_table(name, found, bounds.get(name), words)
        for name, found in parts.items()
        if found
    ]
    return section


def _time(comparison: Comparison, words: Words) -> Section:
    section = Section("time", words("section.time"))
    if not any(side.training for side in comparison.sides):
        return section
    warmup = [
        words("note.warmup_side", name=side.name, count=side.warmup) for side in comparison.sides
    ]
    section.notes.append(words("note.warmup", sides=words.listing(warmup)))
    section.notes.append(words("note.thinned", stretches=STRETCHES))
    section.tables.append(tables.step_table(comparison, words))
    for table in (tables.cause_table(comparison, words), tables.phase_table(comparison, words)):
        if table:
            section.tables.append(table)
    return section


def _batches(comparison: Comparison, words: Words) -> Section:
    section = Section("batches", words("section.batches"), [words("note.batches")])
    if comparison.ratios:
        section.tables.append(tables.ratio_table(comparison, words))
    for kind in ("train", "sample"):
        table = costs.time_table(comparison, kind, words)
        if table:
            section.tables.append(table)
    return section


def _resources(comparison: Comparison, words: Words) -> Section:
    section = Section("resources", words("section.resources"))
    gpu = any(side.training and side.training.gpu_memory_mb for side in comparison.sides)
    gpu = gpu or any(cost.gpu for side in comparison.sides for cost in side.costs)
    section.notes.append(words("note.gpu" if gpu else "note.no_gpu"))
    for kind in ("train", "sample"):
        table = costs.resource_table(comparison, kind, words)
        if table:
            section.tables.append(table)
    return section


def _earlier(comparison: Comparison, words: Words) -> Section:
    section = Section("earlier", words("section.earlier"), [words("note.earlier")])
    if comparison.kind == "engines":
        section.tables.append(earlier.training_table(comparison, words))
        section.tables.append(earlier.sampling_table(comparison, words))
    return section


def _environment(comparison: Comparison, words: Words) -> Section:
    section = Section("environment", words("section.environment"))
    section.tables.append(tables.protocol_table(comparison, words))
    section.tables.append(tables.environment_table(comparison, words))
    return section


def _data_note(comparison: Comparison, words: Words) -> str:
    longest = max((len(s.training.step) for s in comparison.sides if s.training), default=0)
    return (
        words("note.data_thinned", most=MOST_STEPS) if longest > MOST_STEPS else words("note.data")
    )
