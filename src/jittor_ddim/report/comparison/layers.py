"""The figure of differences layer by layer: where the two sides depart."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jittor_ddim.compare.results import Comparison, Difference
from jittor_ddim.report.comparison.drawing import (
    dress,
    mark_bound,
    new_figure,
    power_ticks,
    say,
)
from jittor_ddim.report.comparison.words import Words
from jittor_ddim.report.style import GREY, INK


def layer_differences(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the relative difference of every layer's output and every parameter's gradient."""
    alignment = comparison.alignment
    if alignment is None or not (alignment.outputs or alignment.gradients):
        return None
    bounds: dict[str, float] = {check.name: check.bound for check in alignment.checks}
    parts = {"outputs": alignment.outputs, "gradients": alignment.gradients}
    shown = {name: values for name, values in parts.items() if values}
    figure = new_figure(2.8 if len(shown) == 1 else 4.8)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        dress(axes, words(f"plot.{name}"), words("plot.relative"), words(f"plot.{name}_order"))
        _draw(axes, values, bounds.get(name), words)
    return figure


def _draw(
    axes: Axes, differences: Sequence[Difference], bound: float | None, words: Words
) -> None:
    relative = np.array([one.relative for one in differences])
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
