"""What all figures share: an empty figure, its file, readable axes."""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from jittor_ddim.atomic import write_atomic
from jittor_ddim.figures.style import GREY

#: Ticks with thousands separators.
NUMBERS = FuncFormatter(lambda value, _: f"{value:,.10g}")
_POWERS = FuncFormatter(lambda value, _: f"1e{round(np.log10(value))}" if value > 0 else "0")


def new_figure(width: float, height: float, margin: float = 0.12) -> Figure:
    """Return an empty figure; all sizes are in inches."""
    layout = ConstrainedLayoutEngine(w_pad=margin, h_pad=margin, wspace=0.03, hspace=0.05)
    return Figure(figsize=(width, height), layout=layout)


def save_figure(figure: Figure, path: Path, source: str | None = None) -> Path:
    """Write a figure as PNG and return its path.

    :param source: what it shows, for :func:`source_of`
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Source": source} if source else None)
    write_atomic(path, buffer.getvalue(), sync=False)
    return path


def source_of(path: Path) -> str | None:
    """Return what a PNG file says it shows; None if it does not say."""
    try:
        with Image.open(path) as image:
            return image.info.get("Source")
    except OSError:
        return None


def dress(axes: Axes, title: str, label: str, below: str = "") -> None:
    """Give axes their title, labels and readable ticks."""
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel(below)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(NUMBERS)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Put readable numbers on a logarithmic axis, fewer the more it spans."""
    span = high / low
    if span < 8:
        axis.set_major_locator(MaxNLocator(5))
    else:
        subs = (1, 2, 5) if span < 60 else (1, 3) if span < 1000 else (1,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_major_formatter(NUMBERS)
    axis.set_minor_locator(NullLocator())


def power_ticks(axis: Axis) -> None:
    """Put powers of ten on a logarithmic axis of small differences."""
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(_POWERS)
    axis.set_minor_locator(NullLocator())


def say(axes: Axes, text: str) -> None:
    """Write into the plot what it lacks."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9
    )
