"""A sweep's figures: the distance against S, and against the seconds per image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from jittor_ddim.engines import describe_engine
from jittor_ddim.evaluation.published import PAPER_TIMESTEPS, paper_fid
from jittor_ddim.figures.saving import NUMBERS, log_ticks, new_figure, save_figure, say
from jittor_ddim.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, STYLE, YELLOW
from jittor_ddim.sweep.results import Cell, Row, Sweep, Variant

#: Of variants by their eta, and of samplers without one.
_ETA_COLOURS, _SAMPLER_COLOURS = (BLUE, GREEN, ORANGE, SKY, YELLOW), (PINK, GREY, INK)
#: How lines tell engines apart: the first's are solid, the others' dots lie on top of them.
_LINES = (
    {"ls": "-", "marker": "o", "ms": 5, "lw": 1.6},
    {"ls": ":", "marker": "s", "ms": 7.5, "lw": 2.4, "mfc": "none", "mew": 1.1},
    {"ls": "-.", "marker": "^", "ms": 10, "lw": 1.2, "mfc": "none", "mew": 1.1},
)
_PAPER = {"ls": (0, (5, 3)), "lw": 1.0, "alpha": 0.75}


def write_plots(sweep: Sweep, folder: Path) -> list[Path]:
    """Draw ``distance_by_steps.png`` and ``distance_by_seconds.png``; return the files."""
    draws: dict[str, Callable[[Axes, Sweep], list[Line2D]]] = {
        "distance_by_steps": _draw_by_steps,
        "distance_by_seconds": _draw_by_seconds,
    }
    cells = [cell for cell in sweep.cells if cell.distance is not None]
    measured = sweep.model_copy(update={"cells": sorted(cells, key=lambda cell: cell.row.order)})
    written = []
    with matplotlib.rc_context(STYLE):
        for name, draw in draws.items():
            figure = new_figure(7.6, 4.2)
            axes = figure.subplots()
            # A name is plain text: `$` is not mathematics.
            axes.set_title(sweep.title, loc="right", color=GREY, weight="normal", parse_math=False)
            if cells:
                entries = [*_legend(measured), *draw(axes, measured)]
                figure.legend(handles=entries, loc="outside right upper")
            else:
                say(axes, "no distance in this sweep")
            written.append(save_figure(figure, folder / f"{name}.png"))
    return written


def _draw_by_steps(axes: Axes, sweep: Sweep) -> list[Line2D]:
    """Return the legend's entry of the paper's curves, if there are any."""
    paper = []
    for variant in _variants(sweep):
        if known := _paper(sweep, variant):
            axes.plot(*zip(*known, strict=True), color=_colour(sweep, variant), **_PAPER)
            paper = [Line2D([], [], color=INK, label="DDIM paper", **_PAPER)]
    _draw_lines(axes, sweep, lambda cell: cell.timesteps)
    axes.set_title(f"{sweep.distance_name} against S")
    axes.set_xlabel("S, network calls asked for")
    low, high = axes.get_xlim()
    steps = {cell.timesteps for cell in sweep.cells}
    steps |= {S for S, _ in _paper(sweep, Variant("ddim", 0.0))}
    ticks = [S for S in sorted(steps) if low <= S <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.xaxis.set_minor_locator(NullLocator())
    return paper


def _draw_by_seconds(axes: Axes, sweep: Sweep) -> list[Line2D]:
    _draw_lines(axes, sweep, lambda cell: cell.seconds_per_image)
    axes.set_title(f"{sweep.distance_name} against seconds per image")
    axes.set_xlabel(f"seconds per image, batches of {sweep.batch_size} on {sweep.device}")
    log_ticks(axes.xaxis, *axes.get_xlim())
    for steps in sorted({cell.timesteps for cell in sweep.cells}):
        column = [cell for cell in sweep.cells if cell.timesteps == steps]
        lowest = min(column, key=_distance)
        beside = [cell.seconds_per_image for cell in column if cell.row == lowest.row]
        axes.annotate(
            f"S = {steps}",
            (min(beside), _distance(lowest)),
            xytext=(0, -9),  # below all curves, which fall
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
            color=INK,
        )
    return []


def _draw_lines(axes: Axes, sweep: Sweep, x: Callable[[Cell], float]) -> None:
    for variant in _variants(sweep):
        for engine in sweep.engines:
            place = (engine, variant)
            cells = [cell for cell in sweep.cells if (cell.engine, cell.row.variant) == place]
            style = {"color": _colour(sweep, variant), **_line(sweep, engine)}
            axes.plot(list(map(x, cells)), list(map(_distance, cells)), **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.06, y=0.14)  # below is room for a line of text
    axes.set_ylabel(sweep.distance_name if sweep.is_fid else f"{sweep.distance_name} (not FID)")
    log_ticks(axes.yaxis, *axes.get_ylim())


def _legend(sweep: Sweep) -> list[Line2D]:
    """One entry per variant, told by colour, and one per engine, told by line."""
    entries = []
    for variant in _variants(sweep):
        label = variant.title if variant.eta is None else f"η = {variant.title}"
        entries.append(Line2D([], [], color=_colour(sweep, variant), lw=4, label=label))
    entries.append(Line2D([], [], ls="", label=""))
    for engine in sweep.engines:
        if any(cell.engine == engine for cell in sweep.cells):
            title = describe_engine(engine).title
            entries.append(Line2D([], [], color=INK, label=title, **_line(sweep, engine)))
    return entries


def _paper(sweep: Sweep, variant: Variant) -> list[tuple[int, float]]:
    """The DDIM paper's FIDs by S; none beside another distance."""
    fids = [(S, paper_fid(sweep.dataset, S, variant.stored)) for S in PAPER_TIMESTEPS]
    return [(S, float(fid)) for S, fid in fids if fid and sweep.is_fid]


def _distance(cell: Cell) -> float:
    assert cell.distance is not None  # others are not drawn
    return cell.distance


def _variants(sweep: Sweep) -> list[Variant]:
    rows = {Row(0, cell.row.variant) for cell in sweep.cells}
    return [row.variant for row in sorted(rows, key=lambda row: row.order)]


def _colour(sweep: Sweep, variant: Variant) -> str:
    colours = _SAMPLER_COLOURS if variant.eta is None else _ETA_COLOURS
    alike = [v for v in _variants(sweep) if (v.eta is None) == (variant.eta is None)]
    return colours[alike.index(variant) % len(colours)]


def _line(sweep: Sweep, engine: str) -> dict[str, Any]:
    return _LINES[sweep.engines.index(engine) % len(_LINES)]
