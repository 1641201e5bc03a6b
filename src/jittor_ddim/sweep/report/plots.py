"""A sweep's figures: the distance against S, and against the seconds an image takes."""

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
from jittor_ddim.sweep.results import Cell, Sweep, Variant

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
    draws: dict[str, Callable[[Axes, Sweep], None]] = {
        "distance_by_steps": _draw_by_steps,
        "distance_by_seconds": _draw_by_seconds,
    }
    written = []
    with matplotlib.rc_context(STYLE):
        for name, draw in draws.items():
            figure = new_figure(7.6, 4.2)
            axes = figure.subplots()
            # A name is plain text: `$` is no mathematics.
            axes.set_title(sweep.title, loc="right", color=GREY, weight="normal", parse_math=False)
            if _measured(sweep):
                draw(axes, sweep)
                figure.legend(handles=_legend(sweep, name), loc="outside right upper")
            else:
                say(axes, "no distance in this sweep")
            written.append(save_figure(figure, folder / f"{name}.png"))
    return written


def _draw_by_steps(axes: Axes, sweep: Sweep) -> None:
    for variant in _variants(sweep):
        if known := _paper(sweep, variant):
            axes.plot(*zip(*known, strict=True), color=_colour(sweep, variant), **_PAPER)
    _draw_lines(axes, sweep, lambda cell: cell.timesteps)
    axes.set_title(f"{sweep.distance_name} against S")
    axes.set_xlabel("S, network calls asked for")
    _dress(axes, sweep)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(axes, sweep)))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_by_seconds(axes: Axes, sweep: Sweep) -> None:
    _draw_lines(axes, sweep, lambda cell: cell.seconds_per_image)
    axes.set_title(f"{sweep.distance_name} against seconds per image")
    axes.set_xlabel(f"seconds per image, batches of {sweep.batch_size} on {sweep.device}")
    _dress(axes, sweep)
    log_ticks(axes.xaxis, *axes.get_xlim())
    for steps in sorted({cell.timesteps for cell in _measured(sweep)}):
        column = [cell for cell in _measured(sweep) if cell.timesteps == steps]
        lowest = column[_distances(column).index(min(_distances(column)))]
        beside = [cell.seconds_per_image for cell in column if cell.row == lowest.row]
        axes.annotate(
            f"S = {steps}",
            (min(beside), min(_distances(column))),
            xytext=(0, -9),  # below all curves, which fall
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
            color=INK,
        )


def _draw_lines(axes: Axes, sweep: Sweep, x: Callable[[Cell], float]) -> None:
    for variant in _variants(sweep):
        for engine in sweep.engines:
            cells = _measured(sweep, engine, variant)
            style = {"color": _colour(sweep, variant), **_line(sweep, engine)}
            axes.plot([x(cell) for cell in cells], _distances(cells), **style)


def _dress(axes: Axes, sweep: Sweep) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.06, y=0.14)  # below is room for a line of text
    axes.set_ylabel(sweep.distance_name if sweep.is_fid else f"{sweep.distance_name} (not FID)")
    log_ticks(axes.yaxis, *axes.get_ylim())


def _ticks(axes: Axes, sweep: Sweep) -> list[int]:
    """The S of the sweep and of the paper's curves in view."""
    low, high = axes.get_xlim()
    candidates = {cell.timesteps for cell in _measured(sweep)}
    candidates |= {steps for steps, _ in _paper(sweep, Variant("ddim", 0.0))}
    return [steps for steps in sorted(candidates) if low <= steps <= high]


def _legend(sweep: Sweep, name: str) -> list[Line2D]:
    """One entry per variant, told by colour, and one per engine, told by line."""
    variants = _variants(sweep)
    entries = [
        Line2D([], [], color=_colour(sweep, variant), lw=4, label=_label(variant))
        for variant in variants
    ]
    entries.append(Line2D([], [], ls="", label=""))
    entries += [
        Line2D([], [], color=INK, label=describe_engine(engine).title, **_line(sweep, engine))
        for engine in sweep.engines
        if _measured(sweep, engine)
    ]
    if name == "distance_by_steps" and any(_paper(sweep, variant) for variant in variants):
        entries.append(Line2D([], [], color=INK, label="DDIM paper", **_PAPER))
    return entries


def _label(variant: Variant) -> str:
    return variant.title if variant.eta is None else f"η = {variant.title}"


def _measured(
    sweep: Sweep, engine: str | None = None, variant: Variant | None = None
) -> list[Cell]:
    """The cells with a distance, by ascending S."""
    found = [
        cell
        for cell in sweep.cells
        if cell.distance is not None
        and engine in (None, cell.engine)
        and variant in (None, cell.row.variant)
    ]
    return sorted(found, key=lambda cell: cell.timesteps)


def _paper(sweep: Sweep, variant: Variant) -> list[tuple[int, float]]:
    """The DDIM paper's FIDs by S; none beside another distance."""
    fids = [(S, paper_fid(sweep.dataset, S, variant.stored)) for S in PAPER_TIMESTEPS]
    return [(S, float(fid)) for S, fid in fids if fid and sweep.is_fid]


def _distances(cells: list[Cell]) -> list[float]:
    return [cell.distance for cell in cells if cell.distance is not None]


def _variants(sweep: Sweep) -> list[Variant]:
    return sorted({cell.row.variant for cell in _measured(sweep)}, key=lambda found: found.order)


def _colour(sweep: Sweep, variant: Variant) -> str:
    colours = _SAMPLER_COLOURS if variant.eta is None else _ETA_COLOURS
    alike = [v for v in _variants(sweep) if (v.eta is None) == (variant.eta is None)]
    return colours[alike.index(variant) % len(colours)]


def _line(sweep: Sweep, engine: str) -> dict[str, Any]:
    return _LINES[sweep.engines.index(engine) % len(_LINES)]
