"""Tables as data: what the page shows, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jittor_ddim.compare.report.series import column
from jittor_ddim.compare.report.verdict import (
    bound_text,
    check_label,
    faster,
    measured_text,
    ratio_texts,
)
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import CAUSES, PHASES, Comparison, Difference, Side, Timing
from jittor_ddim.figures.formatting import fixed, number, small


@dataclass(frozen=True)
class Cell:
    """What a cell says; numbers are aligned right, words are not."""

    text: str
    numeric: bool = True
    span: int = 1


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first cell of a row is its heading."""

    name: str  # the id in the page
    caption: str
    header: list[str]
    rows: list[tuple[str, list[Cell]]]
    #: Columns of words rather than numbers, counted without the heading.
    words: frozenset[int] = frozenset()


def cells(texts: Sequence[str], missing: str) -> list[Cell]:
    """Return cells of numbers; the text for a missing one is not aligned as a number."""
    return [Cell(text, numeric=text != missing) for text in texts]


def words_only(texts: Sequence[str]) -> list[Cell]:
    """Return cells of words."""
    return [Cell(text, numeric=False) for text in texts]


def measure_table(
    name: str,
    header: str,
    measures: Sequence[tuple[str, Sequence[float | None], int]],
    comparison: Comparison,
    words: Words,
) -> Table:
    """Return one row a measure: its label, one number a side, and how many digits they have.

    :param name: of the table, and of its caption among the words
    :param header: of the first column, among the words
    """
    missing = words("not_measured")
    rows = [
        (label, cells(fixed(values, digits, missing), missing))
        for label, values, digits in measures
    ]
    columns = [words(header), *(side.name for side in comparison.sides)]
    return Table(name, words(f"table.{name}_caption"), columns, rows)


def check_table(comparison: Comparison, words: Words) -> Table:
    """Return every check with its number, its bound and where a difference begins."""
    rows = []
    for check in comparison.alignment.checks if comparison.alignment else []:
        kept = words("table.kept") if check.passed else words("table.broken")
        row = [
            Cell(measured_text(check)),
            Cell(bound_text(check)),
            Cell(kept, numeric=False),
            Cell(number(check.count, 0)),
            Cell(check.worst or "–", numeric=False),
            Cell(check.first or "–", numeric=False),
        ]
        rows.append((check_label(check, comparison, words), row))
    keys = ("check", "measured", "bound", "result", "compared", "worst", "first_above")
    header = [words(f"table.{key}") for key in keys]
    return Table("checks", words("table.checks_caption"), header, rows, frozenset({2, 4, 5}))


def difference_table(
    name: Literal["outputs", "gradients"],
    differences: Sequence[Difference],
    bound: float | None,
    words: Words,
) -> Table:
    """Return how far every layer or parameter is apart, in the order of computation."""
    rows = []
    scales = fixed([one.scale for one in differences], 3, "")
    relative = [one.relative for one in differences]
    for one, scale, share in zip(differences, scales, relative, strict=True):
        above = bound is not None and not share <= bound
        mark = Cell(words("table.above") if above else "", numeric=False)
        rows.append((one.name, [Cell(small(one.max_abs)), Cell(scale), Cell(small(share)), mark]))
    header = [words(f"table.{key}") for key in (name, "max_abs", "scale", "share", "remark")]
    caption = words(f"table.{name}_caption", count=len(differences))
    return Table(name, caption, header, rows, frozenset({3}))


def ratio_table(comparison: Comparison, words: Words) -> Table:
    """Return all ratios with their intervals."""
    names = [side.name for side in comparison.sides]
    rows = []
    order = sorted(comparison.ratios, key=lambda r: (r.kind != "train", r.side, r.batch_size))
    for ratio in order:
        what = words(f"kind.{ratio.kind}")
        if len(names) > 2:
            what = words("check_of_side", check=what, side=names[ratio.side])
        winner = faster(ratio)
        text = words("table.no_difference") if winner is None else names[winner]
        row = [Cell(str(ratio.batch_size)), *map(Cell, ratio_texts(ratio).values())]
        rows.append((what, [*row, Cell(text, numeric=False)]))
    keys = ("what", "batch", "ratio", "low", "high", "faster")
    header = [words(f"table.{key}") for key in keys]
    caption = words("table.ratios_caption", first=names[0], second=words.listing(names[1:]))
    return Table("ratios", caption, header, rows, frozenset({4}))


def step_table(comparison: Comparison, words: Words) -> Table:
    """Return the step times of the training run, and how long starting took."""
    sides = comparison.sides
    times = [step_times(side) for side in sides]
    percentiles = [
        (words(f"table.{key}"), [t and getattr(t, key) for t in times], 3)
        for key in ("p50", "p95", "p99", "max")
    ]
    measures = [
        (words("table.steps"), [t and t.count for t in times], 1),
        *percentiles,
        (words("table.warmup_steps"), [side.warmup for side in sides], 1),
        (words("table.cold_start"), [side.cold_start_s for side in sides], 3),
        (words("table.compile"), [side.compile_s for side in sides], 3),
    ]
    return measure_table("steps", "table.measure", measures, comparison, words)


def step_times(side: Side) -> Timing | None:
    """Return the figures of a side's training steps; None where there are no times."""
    times = side.training.counted_times if side.training else []
    return Timing.of(times) if times else None


def cause_table(comparison: Comparison, words: Words) -> Table | None:
    """Return how often steps were slow and why; None if there were none."""
    rows = []
    for side in comparison.sides:
        series = side.training
        if series is None:
            continue
        times = column(series.step_time_s)
        causes = [cause for cause in CAUSES if cause in series.cause]
        longest = [
            max(float(times[i]) for i, c in enumerate(series.cause) if c == cause)
            for cause in causes
        ]
        for cause, text in zip(causes, fixed(longest, 3, ""), strict=True):
            label = words("cause." + cause.replace(" ", "_"))
            row = [Cell(label, numeric=False), Cell(str(series.cause.count(cause))), Cell(text)]
            rows.append((side.name, row))
    header = [words(f"table.{key}") for key in ("side", "cause", "count", "longest")]
    caption = words("table.causes_caption")
    return Table("causes", caption, header, rows, frozenset({0})) if rows else None


def phase_table(comparison: Comparison, words: Words) -> Table | None:
    """Return the seconds of each phase of a training step; None if nobody measured them."""
    if not any(side.phases for side in comparison.sides):
        return None
    measures = [
        (words(f"phase.{name}"), [(side.phases or {}).get(name) for side in comparison.sides], 3)
        for name in PHASES
    ]
    return measure_table("phases", "table.phase", measures, comparison, words)


def environment_table(comparison: Comparison, words: Words) -> Table:
    """Return the environment of both sides, and which frameworks each process had loaded."""
    labels = dict.fromkeys(label for side in comparison.sides for label in side.environment)
    missing = words("not_recorded")
    rows = [
        (label, words_only([side.environment.get(label, missing) for side in comparison.sides]))
        for label in labels
    ]
    loaded = [words.listing(side.frameworks) or missing for side in comparison.sides]
    rows.append((words("table.frameworks"), words_only(loaded)))
    header = [words("table.label"), *(side.name for side in comparison.sides)]
    caption = words("table.environment_caption")
    return Table("environment", caption, header, rows, frozenset(range(len(header))))


def protocol_table(comparison: Comparison, words: Words) -> Table:
    """Return what was done, and the command that does it again."""
    made = {
        words(f"table.{key}"): getattr(comparison, key) for key in ("device", "command", "created")
    }
    rows = [(label, words_only([text])) for label, text in (comparison.protocol | made).items()]
    header = [words("table.label"), words("table.value")]
    caption = words("table.protocol_caption")
    return Table("protocol", caption, header, rows, frozenset({0}))
