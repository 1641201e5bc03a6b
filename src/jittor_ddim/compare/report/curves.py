"""The figures of the training runs: loss, memory, utilisation and power over the steps."""

import numpy as np
from matplotlib.figure import Figure

from jittor_ddim.compare.report.drawing import (
    COLOURS,
    HEIGHT,
    dress,
    explain_sides,
    log_ticks,
    mark_bound,
    names,
    new_figure,
    power_ticks,
    say,
)
from jittor_ddim.compare.report.series import column, common_losses, measured, outline
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison
from jittor_ddim.figures.style import INK


def loss(comparison: Comparison, words: Words) -> Figure | None:
    """Draw both losses over one another."""
    runs = [side.training for side in comparison.sides]
    if not any(run and measured(run.loss) for run in runs):
        return None
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    # The second is thin and dashed, so that both show where they agree.
    looks = ((2.6, 0.55, "-"), (1.0, 1.0, (0, (4, 2))))
    for run, name, colour, look in zip(runs, names(comparison), COLOURS, looks, strict=True):
        if run:
            x, y = outline(column(list(run.step)), column(run.loss))
            width, alpha, dashes = look
            (line,) = axes.plot(x, y, color=colour, lw=width, alpha=alpha, ls=dashes, label=name)
            line.set_marker("o" if len(x) == 1 else "None")
    axes.set_yscale("log")
    dress(axes, words("plot.loss"), words("plot.loss_unit"), words("plot.step"))
    log_ticks(axes.yaxis, *axes.get_ylim())
    explain_sides(axes)
    return figure


def loss_difference(comparison: Comparison, words: Words) -> Figure | None:
    """Draw how far the losses are apart at every step that both made."""
    first, second = (side.training for side in comparison.sides)
    if first is None or second is None:
        return None
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    dress(axes, words("plot.loss_difference"), words("plot.relative"), words("plot.step"))
    steps, a, b = common_losses(first, second)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(a - b) / np.abs(a)
    if not np.isfinite(relative).any():
        say(axes, words("plot.no_common_steps"))
        return figure
    if not np.nanmax(relative):
        say(axes, words("plot.equal"))
        return figure
    x, y = outline(steps, np.where(relative > 0, relative, np.nan))
    axes.plot(x, y, "o", color=INK, ms=2.2, mec="none", alpha=0.7)
    axes.set_yscale("log")
    for check in comparison.alignment.checks if comparison.alignment else []:
        if check.name == "losses" and check.bound > 0:
            mark_bound(axes, check.bound, words)
    power_ticks(axes.yaxis)
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


def _panels(
    comparison: Comparison, keys: dict[str, str], unit: str, words: Words
) -> Figure | None:
    """One panel a column that any side measured, from zero."""
    runs = [side.training for side in comparison.sides]
    shown = {
        title: key
        for title, key in keys.items()
        if any(run and measured(getattr(run, key)) for run in runs)
    }
    if not shown:
        return None
    figure = new_figure(HEIGHT if len(shown) == 1 else 4.6)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, key) in zip(panels, shown.items(), strict=True):
        for run, name, colour in zip(runs, names(comparison), COLOURS, strict=True):
            if run and measured(getattr(run, key)):
                x, y = outline(column(list(run.step)), column(getattr(run, key)))
                marker = "o" if len(x) == 1 else None
                axes.plot(x, y, color=colour, lw=1.1, label=name, marker=marker)
        dress(axes, words(title), unit, "")
        axes.set_ylim(0, 105 if unit == "%" else axes.get_ylim()[1])
        explain_sides(axes)
    panels[-1].set_xlabel(words("plot.step"))
    return figure
