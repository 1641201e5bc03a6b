"""Every figure of the report: as PNG and SVG files, and as elements of the page."""

import html
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from jittor_ddim.compare.report import bars, curves
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison
from jittor_ddim.pages.drawings import inline, style, write_drawing

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
    with matplotlib.rc_context(style()):
        for draw in _DRAWINGS:
            figure, name = draw(comparison, in_figures), draw.__name__
            if figure is None:
                continue
            drawn = write_drawing(figure, name, folder)
            heard = words("plot_alternative", what=words(f"plot_name.{name}"), sides=sides)
            svg = inline(drawn, f"plot-{name}", html.escape(heard))
            plots[name] = Plot(name, svg, words(f"plot_caption.{name}"))
    return plots
