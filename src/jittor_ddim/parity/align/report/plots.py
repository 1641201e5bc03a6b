"""The plots: losses of both sides over each other, their difference, and step times."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from jittor_ddim.figures.saving import dress, log_ticks, new_figure, power_ticks
from jittor_ddim.figures.style import GREY, INK
from jittor_ddim.pages.drawings import COLOURS, HEIGHT, WIDTH, style, write_drawing
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment

_SIZE = (WIDTH, HEIGHT)


def write_plots(result: Alignment, words: Words, folder: Path) -> list[tuple[str, str]]:
    """Draw what there is into ``NAME.png`` and ``NAME.svg``; return names and SVG files."""
    drawn = []
    with matplotlib.rc_context(style()):
        for draw in (loss, loss_difference, step_time):
            figure, name = draw(result, words), draw.__name__
            if figure is not None:
                drawn.append((name, write_drawing(figure, name, folder)))
    return drawn


def loss(result: Alignment, words: Words) -> Figure | None:
    """Draw the losses of both sides; the second dashed, so that both are seen where they agree."""
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    for side, colour, dashes in zip(result.sides, COLOURS, ("-", "--"), strict=False):
        axes.plot(_steps(result), side.losses, dashes, color=colour, label=side.name)
    dress(axes, words("plot.loss"), "", words("plot.step"))
    axes.legend()
    return figure


def loss_difference(result: Alignment, words: Words) -> Figure | None:
    """Draw the relative difference of the losses; None if there is none."""
    first, second = (side.losses for side in result.sides)
    gaps = [abs(a - b) / max(abs(a), 1e-30) for a, b in zip(first, second, strict=True)]
    if not any(gap > 0 for gap in gaps):
        return None
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    shown = [gap if gap > 0 else float("nan") for gap in gaps]
    axes.plot(_steps(result), shown, ".-", color=INK)
    dress(axes, words("plot.loss_difference"), "|a - b| / |a|", words("plot.step"))
    axes.set_yscale("log")
    power_ticks(axes.yaxis)
    losses = [check for check in result.checks if check.name == "losses"]
    # A bound that rounding has widened is another one at every step.
    if losses and (bound := losses[0].bound) and not losses[0].notes:
        axes.axhline(bound, color=GREY, lw=1, ls=":")
    return figure


def step_time(result: Alignment, words: Words) -> Figure | None:
    """Draw the seconds of every step; None where they were not measured."""
    if not all(side.steps.get("step_time_s") for side in result.sides):
        return None
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    for side, colour in zip(result.sides, COLOURS, strict=False):
        axes.plot(side.steps["step_time_s"], ".-", color=colour, label=side.name)
    dress(axes, words("plot.step_time"), words("plot.seconds"), words("plot.step"))
    seconds = [s for side in result.sides for s in side.steps["step_time_s"]]
    axes.set_yscale("log")
    log_ticks(axes.yaxis, min(seconds), max(seconds))
    axes.legend()
    return figure


def _steps(result: Alignment) -> list[float]:
    return result.sides[0].steps.get("step") or [
        float(k) for k in range(len(result.sides[0].losses))
    ]
