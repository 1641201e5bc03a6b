"""Every figure of the report: as PNG and SVG files, and as elements of the page."""

import html
import io
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.report import bars, curves
from jittor_ddim.compare.report.drawing import VARIABLES, style
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison
from jittor_ddim.figures.saving import save_figure

_DRAWINGS = (
    bars.outputs,
    bars.gradients,
    curves.loss,
    curves.loss_difference,
    curves.step_times,
    curves.step_time_cdf,
    bars.phases,
    bars.train_throughput,
    bars.sample_throughput,
    curves.memory,
    curves.utilization,
    curves.power,
)


@dataclass(frozen=True)
class Plot:
    """A figure of the page: an SVG element, already safe to insert, and its caption."""

    name: str
    svg: str
    caption: str


def write_plots(comparison: Comparison, words: Words, folder: Path) -> dict[str, Plot]:
    """Draw what there is data for into ``{name}.png`` and ``{name}.svg``."""
    plots = {}
    in_figures = words.in_figures()
    sides = words.listing([side.name for side in comparison.sides])
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(style()):
        for draw in _DRAWINGS:
            figure, name = draw(comparison, in_figures), draw.__name__
            if figure is None:
                continue
            vector = io.BytesIO()
            figure.savefig(vector, format="svg", metadata=undated)
            write_atomic(folder / f"{name}.svg", vector.getvalue(), sync=False)
            figure.set_facecolor("white")
            save_figure(figure, folder / f"{name}.png")
            heard = words("plot_alternative", what=words(f"plot_name.{name}"), sides=sides)
            svg = inline(vector.getvalue().decode(), f"plot-{name}", html.escape(heard))
            plots[name] = Plot(name, svg, words(f"plot_caption.{name}"))
    return plots


def inline(text: str, name: str, title: str) -> str:
    """Return an SVG file as an element of the page.

    Its colours become the page's variables, its ids (which a page may hold only once) begin with
    ``name``, and screen readers hear ``title``, which is already escaped.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    for variable, colour in VARIABLES.items():
        element = element.replace(colour.lower(), f"var({variable})")
    return element.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
