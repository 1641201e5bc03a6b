"""The figures of time: each step, their distribution, the phases, throughput by batch."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from jittor_ddim.compare.report.drawing import (
    COLOURS,
    HEIGHT,
    PAPER,
    dress,
    explain_sides,
    log_ticks,
    names,
    new_figure,
    positive_limits,
    say,
)
from jittor_ddim.compare.report.series import column, outline, steady
from jittor_ddim.compare.report.tables import CAUSES, PHASES
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Cause, Comparison, Side
from jittor_ddim.figures.style import GREY, INK

#: A shape for every cause: told apart without colours.
_MARKERS: dict[Cause, str] = {
    "warmup": "o",
    "compile": "^",
    "garbage collection": "s",
    "data wait": "D",
    "snapshot": "P",
    "processor wait": "v",
    "unknown": "X",
}
#: So many of one cause are drawn, the slowest; the table counts all.
_MOST_MARKS = 100
#: The phases of a step, from the side's full colour to a tint.
_TINTS = {"data": 0.28, "forward": 1.0, "backward": 0.7, "optimizer": 0.45}


def step_series(comparison: Comparison, words: Words) -> Figure | None:
    """Draw every step's time, a panel a side, with the cause of the slow ones."""
    sides = comparison.sides
    known = [_positive(side) for side in sides]
    if not any(len(times) for times in known):
        return None
    figure = new_figure(4.6)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    shown: set[Cause] = set()
    for axes, side, name, colour in zip(panels, sides, names(comparison), COLOURS, strict=True):
        dress(axes, name, words("plot.seconds"), "")
        axes.set_title(name, color=colour)
        if side.training is None or not len(_positive(side)):
            say(axes, words("plot.no_times"))
            continue
        x, y = outline(column(list(side.training.step)), column(side.training.step_time_s))
        axes.plot(x, y, color=colour, lw=0.8)
        shown |= _mark(axes, side, colour)
    panels[0].set_yscale("log")
    limits = positive_limits(np.concatenate(known).tolist())
    panels[0].set_ylim(*limits)
    for axes in panels:
        log_ticks(axes.yaxis, *limits)
    panels[-1].set_xlabel(words("plot.step"))
    _explain(figure, shown, words)
    return figure


def _positive(side: Side) -> np.ndarray:
    times = column(side.training.step_time_s) if side.training else np.empty(0)
    return times[np.isfinite(times) & (times > 0)]


def _mark(axes: Axes, side: Side, colour: str) -> set[Cause]:
    """Mark the slow steps by their cause, and return the causes there are."""
    series = side.training
    if series is None:
        return set()
    steps, times = column(list(series.step)), column(series.step_time_s)
    present: set[Cause] = set()
    for cause in CAUSES:
        found = [i for i, c in enumerate(series.cause) if c == cause and times[i] > 0]
        found = sorted(found, key=lambda i: -float(times[i]))[:_MOST_MARKS]
        if found:
            present.add(cause)
            (marks,) = axes.plot(steps[found], times[found], _MARKERS[cause], zorder=4, ms=5)
            marks.set(markerfacecolor=colour, markeredgecolor=PAPER, markeredgewidth=0.5)
            if cause == "warmup":
                marks.set(markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1)
    return present


def _explain(figure: Figure, causes: set[Cause], words: Words) -> None:
    handles = [
        Line2D(
            [],
            [],
            ls="none",
            marker=_MARKERS[cause],
            ms=5,
            color=GREY,
            mfc="none" if cause == "warmup" else GREY,
            label=words("cause." + cause.replace(" ", "_")),
        )
        for cause in CAUSES
        if cause in causes
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, handletextpad=0.2)


def step_cdf(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the share of steps that took at most so long, warm-up left out."""
    times = [steady(side) for side in comparison.sides]
    times = [values[values > 0] for values in times]
    if not any(len(values) for values in times):
        return None
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    for values, name, colour in zip(times, names(comparison), COLOURS, strict=True):
        if len(values):
            ordered = np.sort(values)
            share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
            x, y = outline(share, ordered)
            axes.plot(y, x, color=colour, drawstyle="steps-post", label=name)
    axes.set_xscale("log")
    dress(axes, words("plot.cdf"), words("plot.cdf_unit"), words("plot.seconds_a_step"))
    limits = positive_limits(np.concatenate(times).tolist())
    axes.set_xlim(*limits)
    log_ticks(axes.xaxis, *limits)
    axes.set_ylim(0, 102)
    axes.set_yticks([0, 25, 50, 75, 95])
    explain_sides(axes)
    return figure


def phases(comparison: Comparison, words: Words) -> Figure | None:
    """Draw what a training step is made of, a bar a side."""
    sides = comparison.sides
    if not any(side.phases for side in sides):
        return None
    figure = new_figure(2.3)
    axes = figure.subplots()
    for row, (side, colour) in enumerate(zip(sides, COLOURS, strict=True)):
        left = 0.0
        for phase in PHASES:
            width = (side.phases or {}).get(phase)
            if width is not None and np.isfinite(width):
                look = {"color": colour, "alpha": _TINTS[phase], "ec": PAPER, "lw": 0.8}
                axes.barh(row, width, left=left, height=0.56, **look)
                left += width
        if not side.phases:
            axes.text(0.01, row, words("not_measured"), color=GREY, va="center", fontsize=8)
    dress(axes, words("plot.phases"), "", words("plot.seconds_a_step"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks([0, 1], names(comparison))
    axes.set_ylim(1.5, -0.5)
    axes.grid(visible=False, axis="y")
    handles = [
        Patch(facecolor=INK, alpha=_TINTS[phase], label=words(f"phase.{phase}"))
        for phase in PHASES
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.0)
    return figure


def train_throughput(comparison: Comparison, words: Words) -> Figure | None:
    """Draw images a second of training against the batch size."""
    return _throughput(comparison, "train", words)


def sample_throughput(comparison: Comparison, words: Words) -> Figure | None:
    """Draw images a second through a sampler's network call against the batch size."""
    return _throughput(comparison, "sample", words)


def _throughput(comparison: Comparison, kind: str, words: Words) -> Figure | None:
    batches: set[int] = set()
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    for side, name, colour in zip(comparison.sides, names(comparison), COLOURS, strict=True):
        costs = sorted((c for c in side.costs if c.kind == kind), key=lambda c: c.batch_size)
        x, y = [c.batch_size for c in costs], [c.images_per_s for c in costs]
        if x:
            axes.plot(x, y, color=colour, marker="o", ms=4, label=name)
        batches |= set(x)
    if not batches:
        return None
    dress(axes, words(f"plot.{kind}"), words("plot.images_per_s"), words("plot.batch"))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(batches)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    explain_sides(axes)
    return figure
