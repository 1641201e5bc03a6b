"""The plots: the loss of the training, and how good samples are after so many network calls."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from jittor_ddim.demo.report.words import Words
from jittor_ddim.demo.results import Demo
from jittor_ddim.figures.saving import NUMBERS, dress, log_ticks, new_figure
from jittor_ddim.pages.drawings import COLOURS, HEIGHT, WIDTH, style, write_drawing
from jittor_ddim.runs.plots import smooth

#: Points of the curve: the page carries it as text.
_POINTS = 400


def draw_plots(demo: Demo, words: Words, folder: Path) -> dict[str, str]:
    """Draw into ``NAME.png`` and ``NAME.svg``; return the SVG files by name."""
    with matplotlib.rc_context(style()):
        return {
            draw.__name__: write_drawing(draw(demo, words), draw.__name__, folder)
            for draw in (loss, distance, readable)
        }


def loss(demo: Demo, words: Words) -> Figure:
    """Draw the loss per element, smoothed, and the losses of held-out images."""
    training, figure = demo.training, new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    dress(axes, words("plot.loss"), words("plot.per_element"), words("plot.step"))
    mean = smooth(training.loss, max(1, len(training.loss) / 40))
    shown = slice(None, None, max(1, len(mean) // _POINTS))
    axes.plot(training.steps[shown], mean[shown], color=COLOURS[0], label=words("plot.training"))
    known = np.isfinite(training.validation)
    axes.plot(
        training.steps[known],
        training.validation[known],
        "D",
        ms=4,
        color=COLOURS[1],
        label=words("plot.held_out"),
    )
    axes.set_yscale("log")
    log_ticks(axes.yaxis, *axes.get_ylim())
    axes.legend(loc="upper right")
    return figure


def distance(demo: Demo, words: Words) -> Figure:
    """Draw FD-small against the number of network calls, for every sampler."""
    figure = _against_calls(demo, words, [one.fd_small for one in demo.judged])
    (axes,) = figure.axes
    axes.set_title(words("plot.distance"))
    axes.set_ylabel("FD-small")
    axes.set_yscale("log")
    log_ticks(axes.yaxis, *axes.get_ylim())
    return figure


def readable(demo: Demo, words: Words) -> Figure:
    """Draw the share that is read as asked for against the number of network calls."""
    figure = _against_calls(demo, words, [100 * one.reading.read for one in demo.judged])
    (axes,) = figure.axes
    axes.set_title(words("plot.readable"))
    axes.set_ylabel("%")
    return figure


def _against_calls(demo: Demo, words: Words, values: list[float]) -> Figure:
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    samplers = list(dict.fromkeys(one.sampler for one in demo.judged))
    for sampler, colour in zip(samplers, COLOURS, strict=False):
        rows = [i for i, one in enumerate(demo.judged) if one.sampler == sampler]
        calls = [demo.judged[i].calls for i in rows]
        axes.plot(calls, [values[i] for i in rows], "o-", ms=4, color=colour, label=sampler)
    axes.set_xscale("log")
    axes.set_xlabel(words("plot.calls"))
    axes.xaxis.set_major_locator(FixedLocator(sorted({one.calls for one in demo.judged})))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(NUMBERS)
    axes.legend()
    return figure
