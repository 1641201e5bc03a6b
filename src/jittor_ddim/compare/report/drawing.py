"""What the figures of a comparison share: size, style, and an SVG that follows the page."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from jittor_ddim.compare.report.words import Words, chinese_font
from jittor_ddim.compare.results import Comparison
from jittor_ddim.figures.style import BLUE, GREY, INK, ORANGE, STYLE

#: The colour of each side, everywhere.
COLOURS = (BLUE, ORANGE)
#: 374 CSS pixels: as wide as a phone shows, so that no letter shrinks there.
WIDTH, HEIGHT = 5.2, 2.9
PAPER = "#FFFFFF"
_EDGE, _GRID = "#B0B0B0", "#E6E6E6"
#: The drawn colours by the page's variable, which is another one in the dark.
_VARIABLES = {
    BLUE: "--first",
    ORANGE: "--second",
    INK: "--ink",
    GREY: "--muted",
    _EDGE: "--edge",
    _GRID: "--grid",
    PAPER: "--paper",
}
_LONGEST_NAME = 48
#: Two names of more letters than this do not fit beside a title.
_LEGEND_LETTERS = 20
_NUMBERS = FuncFormatter(lambda value, _: f"{value:,.10g}")
_POWERS = FuncFormatter(lambda value, _: f"1e{round(np.log10(value))}" if value > 0 else "0")


def style() -> dict[Any, Any]:
    """Return the settings for ``matplotlib.rc_context``."""
    chinese = chinese_font()
    return STYLE | {
        "font.family": ["DejaVu Sans", *([chinese] if chinese else [])],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.dpi": 200,
        "axes.edgecolor": _EDGE,
        "grid.color": _GRID,
        "lines.linewidth": 1.4,
        "text.parse_math": False,  # a run's name is plain text: `$` is no mathematics
        "svg.fonttype": "none",  # text stays text: it is searched, read out, and small
        "svg.hashsalt": "report",  # the same comparison gives the same file
    }


def new_figure(height: float) -> Figure:
    """Return an empty figure of the common width and this height in inches."""
    return Figure(
        figsize=(WIDTH, height),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.02, hspace=0.06),
    )


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """Return the figure as an SVG file without a background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue().decode()


def inline(text: str, name: str, title: str) -> str:
    """Return an SVG file as an element of the page.

    Its colours become the page's variables, its ids (which a page may hold only once) begin with
    ``name``, and screen readers hear ``title``, which is already escaped.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    element = re.sub(r"<!--.*?-->\s*", "", element, flags=re.DOTALL)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", element)
    element = element.replace("xlink:href", "href")
    element = re.sub(r"font-family: [^;\"]*(;|(?=\"))", "", element)
    # Some releases of matplotlib write the whole font in one go: `font: 8px 'DejaVu Sans'`.
    element = re.sub(r"font: ((?:bold |700 )?[\d.]+px)[^;\"]*", _font, element)
    for colour, variable in _VARIABLES.items():
        element = re.sub(colour, f"var({variable})", element, flags=re.IGNORECASE)
    box = re.search(r'viewBox="[^"]*"', element)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box[0] if box else ""} role="img"'
    return re.sub(r"<svg[^>]*>", f'{head} aria-label="{title}">', element, count=1)


def _font(match: re.Match[str]) -> str:
    *weight, size = match[1].split()
    return f"font-size: {size}" + ("; font-weight: bold" if weight else "")


def names(comparison: Comparison) -> list[str]:
    """Return the names of both sides as figures can show them."""
    return [drawable(side.name) for side in comparison.sides]


def drawable(text: str) -> str:
    """Shorten a text from the left, and replace Chinese where no font can draw it."""
    if not chinese_font():
        text = re.sub(r"[⺀-\uffff]", "?", text)
    return text if len(text) <= _LONGEST_NAME else "…" + text[1 - _LONGEST_NAME :]


def dress(axes: Axes, title: str, label: str, below: str) -> None:
    """Give axes their title, labels and readable ticks."""
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel(below)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(_NUMBERS)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(_NUMBERS)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Put readable numbers on a logarithmic axis, fewer the more it spans."""
    span = high / low
    if span < 8:
        axis.set_major_locator(MaxNLocator(5))
    else:
        subs = (1, 2, 5) if span < 60 else (1, 3) if span < 1000 else (1,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_major_formatter(_NUMBERS)
    axis.set_minor_locator(NullLocator())


def power_ticks(axis: Axis) -> None:
    """Put powers of ten on a logarithmic axis of small differences."""
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(_POWERS)
    axis.set_minor_locator(NullLocator())


def say(axes: Axes, text: str) -> None:
    """Say in the plot what it lacks."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9
    )


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
        ncols=2,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def positive_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of a logarithmic axis around these positive values."""
    low, high = min(values), max(values)
    return low / 1.25, high * 1.25
