"""Every figure of the report: as PNG and SVG files, and as elements of the page."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from jittor_ddim.atomic import replacing
from jittor_ddim.compare.report import curves, layers, times
from jittor_ddim.compare.report.drawing import inline, png, style, svg
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison

_DRAWINGS: dict[str, Callable[[Comparison, Words], Figure | None]] = {
    "outputs": layers.outputs,
    "gradients": layers.gradients,
    "loss": curves.loss,
    "loss_difference": curves.loss_difference,
    "step_times": times.step_series,
    "step_time_cdf": times.step_cdf,
    "phases": times.phases,
    "train_throughput": times.train_throughput,
    "sample_throughput": times.sample_throughput,
    "memory": curves.memory,
    "utilization": curves.utilization,
    "power": curves.power,
}


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
    with matplotlib.rc_context(style()):
        for name, draw in _DRAWINGS.items():
            figure = draw(comparison, in_figures)
            if figure is None:
                continue
            vector = svg(figure)
            for suffix, data in (("png", png(figure)), ("svg", vector.encode())):
                with replacing(folder / f"{name}.{suffix}") as temporary:
                    temporary.write_bytes(data)
            alternative = html.escape(_alternative(comparison, name, words))
            caption = words(f"plot_caption.{name}")
            plots[name] = Plot(name, inline(vector, f"plot-{name}", alternative), caption)
    return plots


def _alternative(comparison: Comparison, name: str, words: Words) -> str:
    first, second = (side.name for side in comparison.sides)
    return words("plot_alternative", what=words(f"plot_name.{name}"), first=first, second=second)
