"""The figures of differences layer by layer: where the two sides depart."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jittor_ddim.compare.report.drawing import (
    HEIGHT,
    dress,
    mark_bound,
    new_figure,
    power_ticks,
    say,
)
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Difference
from jittor_ddim.figures.style import GREY, INK


def outputs(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the relative difference of every layer's output."""
    alignment = comparison.alignment
    return _figure(comparison, "outputs", alignment.outputs if alignment else [], words)


def gradients(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the relative difference of every parameter's gradient."""
    alignment = comparison.alignment
    return _figure(comparison, "gradients", alignment.gradients if alignment else [], words)


def _figure(
    comparison: Comparison,
    name: Literal["outputs", "gradients"],
    differences: Sequence[Difference],
    words: Words,
) -> Figure | None:
    if comparison.alignment is None or not differences:
        return None
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    dress(axes, words(f"plot.{name}"), words(f"plot.{name}_share"), words(f"plot.{name}_order"))
    bounds = [check.bound for check in comparison.alignment.checks if check.name == name]
    _draw(axes, [one.relative for one in differences], bounds[0] if bounds else None, words)
    return figure


def _draw(axes: Axes, found: Sequence[float], bound: float | None, words: Words) -> None:
    relative = np.array(found)
    drawn = np.isfinite(relative) & (relative > 0)
    if not drawn.any():
        broken = not np.isfinite(relative).all()
        say(axes, words("plot.not_finite" if broken else "plot.equal"))
        return
    places = np.arange(1, len(relative) + 1)
    axes.vlines(places[drawn], relative[drawn].min() / 3, relative[drawn], color=GREY, lw=0.4)
    axes.plot(places[drawn], relative[drawn], "o", color=INK, ms=2.4)
    axes.set_yscale("log")
    if bound is not None and bound > 0:
        mark_bound(axes, bound, words)
    power_ticks(axes.yaxis)
