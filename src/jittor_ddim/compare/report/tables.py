"""Tables as data: what the page shows, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from jittor_ddim.compare.report.series import column, step_times
from jittor_ddim.compare.report.verdict import (
    bound_text,
    faster,
    measured_text,
    ratio_texts,
)
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Alignment, Cause, Comparison, Difference, Phase
from jittor_ddim.figures.formatting import fixed, number, small

#: Why a step is slow.
CAUSES: tuple[Cause, ...] = get_args(Cause)
#: The parts of a training step.
PHASES: tuple[Phase, ...] = get_args(Phase)


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


def by_measure(
    measures: Sequence[tuple[str, Sequence[float | None], int]], missing: str
) -> list[tuple[str, list[Cell]]]:
    """Return one row a measure: its label, one number a side, and how many digits they have."""
    return [
        (label, cells(fixed(values, digits, missing), missing))
        for label, values, digits in measures
    ]


def check_table(alignment: Alignment, words: Words) -> Table:
    """Return every check with its number, its bound and where a difference begins."""
    rows = []
    for check in alignment.checks:
        kept = words("table.kept") if check.passed else words("table.broken")
        row = [
            Cell(measured_text(check)),
            Cell(bound_text(check)),
            Cell(kept, numeric=False),
            Cell(number(check.count, 0)),
            Cell(check.worst or "–", numeric=False),
            Cell(check.first or "–", numeric=False),
        ]
        rows.append((words(f"check.{check.name}"), row))
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
    for ratio in sorted(comparison.ratios, key=lambda r: (r.kind != "train", r.batch_size)):
        winner = faster(ratio)
        text = words("table.no_difference") if winner is None else names[winner]
        row = [Cell(str(ratio.batch_size)), *map(Cell, ratio_texts(ratio).values())]
        rows.append((words(f"kind.{ratio.kind}"), [*row, Cell(text, numeric=False)]))
    keys = ("what", "batch", "ratio", "low", "high", "faster")
    header = [words(f"table.{key}") for key in keys]
    caption = words("table.ratios_caption", first=names[0], second=names[1])
    return Table("ratios", caption, header, rows, frozenset({4}))


def step_table(comparison: Comparison, words: Words) -> Table:
    """Return the step times of the training run, and how long starting took."""
    times = [step_times(side) for side in comparison.sides]
    measures = [
        (words("table.steps"), [t and t.count for t in times], 1),
        *(
            (words(f"table.{key}"), [t and getattr(t, key) for t in times], 3)
            for key in ("p50", "p95", "p99", "max")
        ),
        (words("table.warmup_steps"), [side.warmup for side in comparison.sides], 1),
        (words("table.cold_start"), [side.cold_start_s for side in comparison.sides], 3),
        (words("table.compile"), [side.compile_s for side in comparison.sides], 3),
    ]
    header = [words("table.measure"), *(side.name for side in comparison.sides)]
    rows = by_measure(measures, words("not_measured"))
    return Table("steps", words("table.steps_caption"), header, rows)


def cause_table(comparison: Comparison, words: Words) -> Table | None:
    """Return how often steps were slow and why; None if there were none."""
    rows = []
    for side in comparison.sides:
        series = side.training
        if series is None:
            continue
        times = column(series.step_time_s)
        causes: list[Cause] = [cause for cause in CAUSES if cause in series.cause]
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
        (
            words(f"phase.{name}"),
            [side.phases.get(name) if side.phases else None for side in comparison.sides],
            3,
        )
        for name in PHASES
    ]
    header = [words("table.phase"), *(side.name for side in comparison.sides)]
    rows = by_measure(measures, words("not_measured"))
    return Table("phases", words("table.phases_caption"), header, rows)


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
    return Table("environment", caption, header, rows, frozenset({0, 1}))


def protocol_table(comparison: Comparison, words: Words) -> Table:
    """Return what was done, and the command that does it again."""
    rows = [(label, words_only([text])) for label, text in comparison.protocol.items()]
    rows.append((words("table.device"), words_only([comparison.device])))
    rows.append((words("table.command"), words_only([comparison.command])))
    rows.append((words("table.created"), words_only([comparison.created])))
    header = [words("table.label"), words("table.value")]
    caption = words("table.protocol_caption")
    return Table("protocol", caption, header, rows, frozenset({0}))
