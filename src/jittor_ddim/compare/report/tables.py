"""Tables as data: what the page shows, cell by cell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jittor_ddim.compare.report.series import column
from jittor_ddim.compare.report.verdict import (
    check_label,
    faster,
    in_unit,
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


def new_table(
    name: str,
    header: Sequence[str],
    rows: list[tuple[str, list[Cell]]],
    words: Words,
    text: Iterable[int] = (),
    **values: object,
) -> Table:
    """Return a table.

    :param name: of the table, and of its caption among the words
    :param header: the names of its columns among the words
    :param text: columns of words rather than numbers
    :param values: of the placeholders in the caption
    """
    columns = [words(f"table.{key}") for key in header]
    return Table(name, words(f"table.{name}_caption", **values), columns, rows, frozenset(text))


def measure_table(
    name: str,
    header: str,
    measures: Sequence[tuple[str, Sequence[float | None], int]],
    comparison: Comparison,
    words: Words,
) -> Table:
    """Return one row per measure: its label, a number per side, and how many digits they have."""
    missing = words("not_measured")
    rows = [
        (label, cells(fixed(values, digits, missing), missing))
        for label, values, digits in measures
    ]
    table = new_table(name, [header], rows, words)
    table.header.extend(side.name for side in comparison.sides)
    return table


def cells(texts: Sequence[str], missing: str) -> list[Cell]:
    """Return cells of numbers; the text for a missing one is not aligned as a number."""
    return [Cell(text, numeric=text != missing) for text in texts]


def words_only(texts: Sequence[str]) -> list[Cell]:
    """Return cells of words."""
    return [Cell(text, numeric=False) for text in texts]


def check_table(comparison: Comparison, words: Words) -> Table:
    """Return every check with its number, its bound and where a difference begins."""
    rows = []
    for check in comparison.alignment.checks if comparison.alignment else []:
        (result,) = words_only([words("table.kept" if check.passed else "table.broken")])
        measured, bound = (Cell(in_unit(check, n)) for n in (check.measured, check.bound))
        places = words_only([check.worst or "–", check.first or "–"])
        row = [measured, bound, result, Cell(number(check.count, 0)), *places]
        rows.append((check_label(check, comparison, words), row))
    header = ("check", "measured", "bound", "result", "compared", "worst", "first_above")
    return new_table("checks", header, rows, words, text=(2, 4, 5))


def difference_table(
    name: str,
    differences: Sequence[Difference],
    bound: float | None,
    words: Words,
) -> Table:
    """Return how far every layer or parameter is apart, in the order of computation."""
    rows = []
    scales = fixed([one.scale for one in differences], 3, "")
    for one, scale in zip(differences, scales, strict=True):
        above = bound is not None and not one.relative <= bound
        numbers = [Cell(small(one.max_abs)), Cell(scale), Cell(small(one.relative))]
        rows.append((one.name, [*numbers, *words_only([words("table.above") if above else ""])]))
    header = (name, "max_abs", "scale", "share", "remark")
    return new_table(name, header, rows, words, text=(3,), count=len(differences))


def ratio_table(comparison: Comparison, words: Words) -> Table:
    """Return all ratios with their intervals."""
    names = [side.name for side in comparison.sides]
    rows = []
    order = sorted(comparison.ratios, key=lambda r: (r.kind != "train", r.side, r.batch_size))
    for ratio in order:
        what, winner = words(f"kind.{ratio.kind}"), faster(ratio)
        if len(names) > 2:
            what = words("check_of_side", check=what, side=names[ratio.side])
        text = words("table.no_difference") if winner is None else names[winner]
        row = [Cell(str(ratio.batch_size)), *map(Cell, ratio_texts(ratio).values())]
        rows.append((what, row + words_only([text])))
    header = ("what", "batch", "ratio", "low", "high", "faster")
    others = words.listing(names[1:])
    return new_table("ratios", header, rows, words, text=(4,), first=names[0], second=others)


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
    return measure_table("steps", "measure", measures, comparison, words)


def step_times(side: Side) -> Timing | None:
    """Return the figures of a side's training steps; None where there are no times."""
    times = side.training.counted_times if side.training else []
    return Timing.of(times) if times else None


def cause_table(comparison: Comparison, words: Words) -> Table | None:
    """Return how often steps were slow and why; None if there were none."""
    rows = []
    for side in comparison.sides:
        if side.training is None:
            continue
        found: list[str | None] = list(side.training.cause)
        times = column(side.training.step_time_s)
        causes = [cause for cause in CAUSES if cause in found]
        longest = [max(float(times[i]) for i, c in enumerate(found) if c == k) for k in causes]
        for cause, text in zip(causes, fixed(longest, 3, ""), strict=True):
            label = words_only([words("cause." + cause.replace(" ", "_"))])
            rows.append((side.name, [*label, Cell(str(found.count(cause))), Cell(text)]))
    header = ("side", "cause", "count", "longest")
    return new_table("causes", header, rows, words, text=(0,)) if rows else None


def phase_table(comparison: Comparison, words: Words) -> Table | None:
    """Return the seconds of each phase of a training step; None if nobody measured them."""
    if not any(side.phases for side in comparison.sides):
        return None
    measures = [
        (words(f"phase.{name}"), [(side.phases or {}).get(name) for side in comparison.sides], 3)
        for name in PHASES
    ]
    return measure_table("phases", "phase", measures, comparison, words)


def environment_table(comparison: Comparison, words: Words) -> Table:
    """Return the environment of every side, and which frameworks each process had loaded."""
    sides, missing = comparison.sides, words("not_recorded")
    labels = dict.fromkeys(label for side in sides for label in side.environment)
    rows = [
        (label, words_only([side.environment.get(label, missing) for side in sides]))
        for label in labels
    ]
    loaded = [words.listing(side.frameworks) or missing for side in sides]
    rows.append((words("table.frameworks"), words_only(loaded)))
    table = new_table("environment", ["label"], rows, words, text=range(len(sides)))
    table.header.extend(side.name for side in sides)
    return table


def protocol_table(comparison: Comparison, words: Words) -> Table:
    """Return what was done, and the command that does it again."""
    made = {words(f"table.{k}"): getattr(comparison, k) for k in ("device", "command", "created")}
    rows = [(label, words_only([text])) for label, text in (comparison.protocol | made).items()]
    return new_table("protocol", ("label", "value"), rows, words, text=(0,))
