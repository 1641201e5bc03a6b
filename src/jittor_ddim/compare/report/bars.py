"""The figures that are not over steps: differences by layer, the parts of a step, throughput."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from jittor_ddim.compare.report.drawing import (
    each_side,
    explain_sides,
    mark_bound,
    new_axes,
)
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import PHASES, Comparison, Difference, Phase
from jittor_ddim.figures.saving import power_ticks, say
from jittor_ddim.figures.style import GREY, INK
from jittor_ddim.pages.drawings import PAPER

#: The phases of a step, from the side's full colour to a tint.
_TINTS: dict[Phase, float] = {"data": 0.28, "forward": 1.0, "backward": 0.7, "optimizer": 0.45}


def outputs(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the relative difference of every layer's output."""
    alignment = comparison.alignment
    return _layers(comparison, "outputs", alignment.outputs if alignment else [], words)


def gradients(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the relative difference of every parameter's gradient."""
    alignment = comparison.alignment
    return _layers(comparison, "gradients", alignment.gradients if alignment else [], words)


def _layers(
    comparison: Comparison,
    name: Literal["outputs", "gradients"],
    differences: Sequence[Difference],
    words: Words,
) -> Figure | None:
    if comparison.alignment is None or not differences:
        return None
    figure, axes = new_axes(
        words(f"plot.{name}"), words(f"plot.{name}_share"), words(f"plot.{name}_order")
    )
    relative = np.array([one.relative for one in differences])
    drawn = np.isfinite(relative) & (relative > 0)
    if not drawn.any():
        broken = not np.isfinite(relative).all()
        say(axes, words("plot.not_finite" if broken else "plot.equal"))
        return figure
    places = np.arange(1, len(relative) + 1)
    axes.vlines(places[drawn], relative[drawn].min() / 3, relative[drawn], color=GREY, lw=0.4)
    axes.plot(places[drawn], relative[drawn], "o", color=INK, ms=2.4)
    axes.set_yscale("log")
    for check in comparison.alignment.checks:
        if check.name == name and check.bound > 0:
            mark_bound(axes, check.bound, words)
    power_ticks(axes.yaxis)
    return figure


def phases(comparison: Comparison, words: Words) -> Figure | None:
    """Draw the parts of a training step, one bar per side."""
    sides = list(each_side(comparison))
    if not any(side.phases for side, _, _ in sides):
        return None
    height = 1.3 + 0.5 * len(sides)
    figure, axes = new_axes(words("plot.phases"), "", words("plot.seconds_a_step"), height)
    for row, (side, _, colour) in enumerate(sides):
        left = 0.0
        for phase, width in (side.phases or {}).items():
            if np.isfinite(width):
                look = {"color": colour, "alpha": _TINTS[phase], "ec": PAPER, "lw": 0.8}
                axes.barh(row, width, left=left, height=0.56, **look)
                left += width
        if not side.phases:
            axes.text(0.01, row, words("not_measured"), color=GREY, va="center", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks(range(len(sides)), [name for _, name, _ in sides])
    axes.set_ylim(len(sides) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    handles = [
        Patch(facecolor=INK, alpha=_TINTS[phase], label=words(f"phase.{phase}"))
        for phase in PHASES
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.0)
    return figure


def train_throughput(comparison: Comparison, words: Words) -> Figure | None:
    """Draw images per second in training against the batch size."""
    return _throughput(comparison, "train", words)


def sample_throughput(comparison: Comparison, words: Words) -> Figure | None:
    """Draw images per second through one network call against the batch size."""
    return _throughput(comparison, "sample", words)


def _throughput(
    comparison: Comparison, kind: Literal["train", "sample"], words: Words
) -> Figure | None:
    batches = {c.batch_size for s in comparison.sides for c in s.costs if c.kind == kind}
    if not batches:
        return None
    figure, axes = new_axes(words(f"plot.{kind}"), words("plot.images_per_s"), words("plot.batch"))
    for side, name, colour in each_side(comparison):
        costs = sorted((c for c in side.costs if c.kind == kind), key=lambda c: c.batch_size)
        if costs:
            x, y = [c.batch_size for c in costs], [c.images_per_s for c in costs]
            axes.plot(x, y, color=colour, marker="o", ms=4, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(batches)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    explain_sides(axes)
    return figure
