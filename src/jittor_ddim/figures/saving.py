"""What the figures of runs and sweeps share: an empty one, a file of it, readable log axes."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from jittor_ddim.atomic import replacing
from jittor_ddim.figures.style import GREY

#: Ticks with thousands separators.
NUMBERS = FuncFormatter(lambda value, _: f"{value:,.10g}")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(
        figsize=(width, height),
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04),
    )


def save_figure(figure: Figure, path: Path, source: str | None = None) -> Path:
    """Write a figure as PNG and return its path.

    :param source: of what it is a figure, for :func:`source_of`
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Source": source} if source else None)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def source_of(path: Path) -> str | None:
    """Return of what a PNG file says it is a figure; None where it does not."""
    try:
        with Image.open(path) as image:
            return image.info.get("Source")
    except OSError:
        return None


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Readable numbers at 1, 2, 5, 10, …; evenly spaced ones where that would be too few."""
    if high / low < 8:
        axis.set_major_locator(MaxNLocator(6))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axis.set_major_formatter(NUMBERS)
    axis.set_minor_locator(NullLocator())


def say(axes: Axes, text: str) -> None:
    """Say in the plot what it lacks."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=10
    )
