"""The figures of the training runs: loss, time, memory, utilisation and power over the steps."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jittor_ddim.compare.report.drawing import (
    each_side,
    explain_sides,
    mark_bound,
    new_axes,
    new_panels,
    positive_limits,
)
from jittor_ddim.compare.report.series import Column, column, common_losses, measured, outline
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import CAUSES, Cause, Comparison, Series, Side
from jittor_ddim.figures.saving import dress, log_ticks, power_ticks, say
from jittor_ddim.figures.style import GREY, INK
from jittor_ddim.pages.drawings import HEIGHT, PAPER

#: A shape for every cause: told apart without colours.
MARKERS: dict[Cause, str] = dict(zip(CAUSES, "o^sDPvX", strict=True))
#: So many of one cause are drawn, the slowest; the table counts all.
_MOST_MARKS = 100
_PANEL = 2.3  # inches


def loss(comparison: Comparison, words: Words) -> Figure | None:
    """Draw all losses over one another."""
    if not _is_measured(comparison, "loss"):
        return None
    figure, axes = new_axes(words("plot.loss"), words("plot.loss_unit"), words("plot.step"))
    for index, (side, name, colour) in enumerate(each_side(comparison)):
        # All but the first are thin and dashed, so that all show where they agree.
        look = (
            {"lw": 1.0, "ls": (3 * (index - 1), (4, 2))} if index else {"lw": 2.6, "alpha": 0.55}
        )
        if side.training:
            _draw(axes, side.training, "loss", color=colour, label=name, **look)
    axes.set_yscale("log")
    log_ticks(axes.yaxis, *axes.get_ylim())
    explain_sides(axes)
    return figure


def loss_difference(comparison: Comparison, words: Words) -> Figure | None:
    """Draw how far the losses are from those of the first side, at every step that both made."""
    (first, _, _), *others = each_side(comparison)
    if not first.training or not any(side.training for side, _, _ in others):
        return None
    figure, axes = new_axes(
        words("plot.loss_difference"), words("plot.relative"), words("plot.step")
    )
    found = []
    for side, name, colour in others:
        if side.training:
            steps, a, b = common_losses(first.training, side.training)
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = np.abs(a - b) / np.abs(a)
            found.append(relative)
            x, y = outline(steps, np.where(relative > 0, relative, np.nan))
            colour = colour if len(others) > 1 else INK
            axes.plot(x, y, "o", color=colour, ms=2.2, mec="none", alpha=0.7, label=name)
    every = np.concatenate(found)
    if not np.isfinite(every).any() or not np.nanmax(every):
        same = np.isfinite(every).any()
        say(axes, words("plot.equal" if same else "plot.no_common_steps"))
        return figure
    axes.set_yscale("log")
    for check in comparison.alignment.checks if comparison.alignment else []:
        # A wider bound is another one at every step.
        if check.name == "losses" and check.bound > 0 and check.rounding is None:
            mark_bound(axes, check.bound, words)
    power_ticks(axes.yaxis)
    if len(others) > 1:
        explain_sides(axes)
    return figure


def memory(comparison: Comparison, words: Words) -> Figure | None:
    """Draw host memory over the steps, and GPU memory where there is a GPU."""
    keys = {"plot.host_memory": "host_memory_mb", "plot.gpu_memory": "gpu_memory_mb"}
    return _panels(comparison, keys, "MB", words)


def utilization(comparison: Comparison, words: Words) -> Figure | None:
    """Draw how busy the cores are over the steps, and the GPU where there is one."""
    keys = {"plot.cpu": "cpu_utilization", "plot.gpu": "gpu_utilization"}
    return _panels(comparison, keys, "%", words)


def power(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the GPU's power over the steps."""
    return _panels(comparison, {"plot.power": "gpu_power_w"}, "W", words)


def step_times(comparison: Comparison, words: Words) -> Figure | None:
    """Draw every step's time, one panel per side, with the cause of the slow ones."""
    known = [_positive(side) for side in comparison.sides]
    if not any(map(len, known)):
        return None
    figure = new_panels(_PANEL * len(known))
    panels = figure.subplots(len(known), 1, sharex=True, sharey=True)
    causes: set[Cause] = set()
    for axes, times, (side, name, colour) in zip(
        panels, known, each_side(comparison), strict=True
    ):
        dress(axes, name, words("plot.seconds"))
        axes.set_title(name, color=colour)
        if side.training is None or not len(times):
            say(axes, words("plot.no_times"))
            continue
        _draw(axes, side.training, "step_time_s", color=colour, lw=0.8)
        causes |= _mark(axes, side.training, colour)
    panels[0].set_yscale("log")
    limits = positive_limits(np.concatenate(known).tolist())
    panels[0].set_ylim(*limits)
    for axes in panels:
        log_ticks(axes.yaxis, *limits)
    panels[-1].set_xlabel(words("plot.step"))
    look = {"ls": "none", "ms": 5, "color": GREY}
    handles = [
        Line2D([], [], marker=MARKERS[cause], mfc="none" if cause == "warmup" else GREY, **look,
               label=words("cause." + cause.replace(" ", "_")))
        for cause in CAUSES
        if cause in causes
    ]  # fmt: skip
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, handletextpad=0.2)
    return figure


def step_time_cdf(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the share of steps that took at most so long, warm-up left out."""
    times = [column(s.training.counted_times if s.training else []) for s in comparison.sides]
    times = [np.sort(values[values > 0]) for values in times]
    if not any(map(len, times)):
        return None
    figure, axes = new_axes(
        words("plot.cdf"), words("plot.cdf_unit"), words("plot.seconds_a_step")
    )
    for ordered, (_, name, colour) in zip(times, each_side(comparison), strict=True):
        if len(ordered):
            share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
            x, y = outline(share, ordered)
            axes.plot(y, x, color=colour, drawstyle="steps-post", label=name)
    axes.set_xscale("log")
    limits = positive_limits(np.concatenate(times).tolist())
    axes.set_xlim(*limits)
    log_ticks(axes.xaxis, *limits)
    axes.set_ylim(0, 102)
    axes.set_yticks([0, 25, 50, 75, 95])
    explain_sides(axes)
    return figure


def _panels(
    comparison: Comparison, keys: dict[str, str], unit: str, words: Words
) -> Figure | None:
    """One panel a column that any side measured, from zero."""
    shown = {title: key for title, key in keys.items() if _is_measured(comparison, key)}
    if not shown:
        return None
    figure = new_panels(HEIGHT if len(shown) == 1 else 2 * _PANEL)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, key) in zip(panels, shown.items(), strict=True):
        for side, name, colour in each_side(comparison):
            if side.training and measured(getattr(side.training, key)):
                _draw(axes, side.training, key, color=colour, lw=1.1, label=name)
        dress(axes, words(title), unit)
        axes.set_ylim(0, 105 if unit == "%" else axes.get_ylim()[1])
        explain_sides(axes)
    panels[-1].set_xlabel(words("plot.step"))
    return figure


def _draw(axes: Axes, run: Series, key: str, **look: object) -> None:
    """A column over the steps; a single step is a dot."""
    x, y = outline(column(list(run.step)), column(getattr(run, key)))
    axes.plot(x, y, marker="o" if len(x) == 1 else None, **look)  # pyright: ignore


def _is_measured(comparison: Comparison, key: str) -> bool:
    runs = [side.training for side in comparison.sides]
    return any(run and measured(getattr(run, key)) for run in runs)


def _positive(side: Side) -> Column:
    times = column(side.training.step_time_s if side.training else [])
    return times[np.isfinite(times) & (times > 0)]


def _mark(axes: Axes, run: Series, colour: str) -> set[Cause]:
    """Mark the slow steps by their cause, and return the causes there are."""
    steps, times = column(list(run.step)), column(run.step_time_s)
    present: set[Cause] = set()
    for cause in CAUSES:
        found = [i for i, c in enumerate(run.cause) if c == cause and times[i] > 0]
        found = sorted(found, key=lambda i: -float(times[i]))[:_MOST_MARKS]
        if found:
            present.add(cause)
            face, edge, width = ("none", colour, 1) if cause == "warmup" else (colour, PAPER, 0.5)
            look = {"zorder": 4, "ms": 5, "mfc": face, "mec": edge, "mew": width}
            axes.plot(steps[found], times[found], MARKERS[cause], **look)
    return present
