"""What the figures of a comparison share: axes, names, bounds and legends."""

import re
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Side
from jittor_ddim.figures.saving import dress, new_figure
from jittor_ddim.figures.style import GREY
from jittor_ddim.pages.drawings import COLOURS, HEIGHT, WIDTH
from jittor_ddim.pages.words import chinese_font

_LONGEST_NAME = 48
#: Names of more letters than this do not fit beside a title.
_LEGEND_LETTERS = 20


def new_axes(title: str, label: str, below: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a figure of the common width and its only axes, titled and labelled."""
    figure = new_panels(height)
    axes = figure.subplots()
    dress(axes, title, label, below)
    return figure, axes


def new_panels(height: float) -> Figure:
    """Return an empty figure of the common width and this height in inches."""
    return new_figure(WIDTH, height, margin=0.06)


def each_side(comparison: Comparison) -> Iterator[tuple[Side, str, str]]:
    """Yield the sides, each with its name as figures can show it, and its colour."""
    for index, side in enumerate(comparison.sides):
        yield side, drawable(side.name), COLOURS[index % len(COLOURS)]


def drawable(text: str) -> str:
    """Shorten a text from the left, and replace Chinese where no font can draw it."""
    if not chinese_font():
        text = re.sub(r"[⺀-\uffff]", "?", text)
    return text if len(text) <= _LONGEST_NAME else "…" + text[1 - _LONGEST_NAME :]


def mark_bound(axes: Axes, bound: float, words: Words) -> None:
    """Draw what is allowed as a dotted line that says so."""
    axes.axhline(bound, color=GREY, lw=1, ls=":")
    axes.annotate(
        words("plot.bound"),
        (1, bound),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        color=GREY,
        fontsize=8,
    )


def explain_sides(axes: Axes) -> None:
    """Add the legend of the sides: above the axes, or below the figure if their names are long."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if sum(map(len, labels)) > _LEGEND_LETTERS and figure:
        if not figure.legends:
            figure.legend(handles, labels, loc="outside lower left", handlelength=1.4)
        return
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(labels) or 1,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def positive_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of a logarithmic axis around these positive values."""
    return min(values) / 1.25, max(values) * 1.25
