"""A sweep's figures: the distance against S, and against the seconds an image takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from jittor_ddim.evaluation.published import PAPER_TIMESTEPS, paper_fid
from jittor_ddim.figures.saving import NUMBERS, log_ticks, new_figure, save_figure, say
from jittor_ddim.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, STYLE, YELLOW
from jittor_ddim.sweep.report.table import NAMES, eta_text, is_fid
from jittor_ddim.sweep.results import Cell, Eta, Sweep, sort_key

_COLOURS = (BLUE, GREEN, ORANGE, SKY, YELLOW)
#: How lines tell engines apart: Jittor's run through, PyTorch's dots lie on top of them.
_LINES = {
    "jittor": {"ls": "-", "marker": "o", "ms": 5, "lw": 1.6},
    "pytorch": {"ls": ":", "marker": "s", "ms": 7.5, "lw": 2.4, "mfc": "none", "mew": 1.1},
}
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
    for eta in _etas(sweep):
        if is_fid(sweep):
            known = [(s, f) for s in PAPER_TIMESTEPS if (f := paper_fid(sweep.dataset, s, eta))]
            if known:
                steps, distances = zip(*((s, float(f)) for s, f in known), strict=True)
                axes.plot(steps, distances, color=_colour(sweep, eta), **_PAPER)
        for engine in sweep.engines:
            cells = _measured(sweep, engine, eta)
            _line(axes, sweep, engine, eta, [cell.timesteps for cell in cells], cells)
    axes.set_title(f"{sweep.distance_name} against S")
    axes.set_xlabel("S, network calls asked for")
    _dress(axes, sweep)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(axes, sweep)))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_by_seconds(axes: Axes, sweep: Sweep) -> None:
    for eta in _etas(sweep):
        for engine in sweep.engines:
            cells = _measured(sweep, engine, eta)
            _line(axes, sweep, engine, eta, [cell.seconds_per_image for cell in cells], cells)
    axes.set_title(f"{sweep.distance_name} against seconds an image")
    axes.set_xlabel(f"seconds an image, batches of {sweep.batch_size} on {sweep.device}")
    _dress(axes, sweep)
    log_ticks(axes.xaxis, *axes.get_xlim())
    for steps in sorted({cell.timesteps for cell in _measured(sweep)}):
        column = [cell for cell in _measured(sweep) if cell.timesteps == steps]
        lowest = column[_distances(column).index(min(_distances(column)))]
        beside = [cell.seconds_per_image for cell in column if cell.eta == lowest.eta]
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


def _line(
    axes: Axes, sweep: Sweep, engine: str, eta: Eta, x: Sequence[float], cells: list[Cell]
) -> None:
    axes.plot(x, _distances(cells), color=_colour(sweep, eta), **_LINES[engine])


def _dress(axes: Axes, sweep: Sweep) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.06, y=0.14)  # below is room for a line of text
    axes.set_ylabel(sweep.distance_name if is_fid(sweep) else f"{sweep.distance_name} (not FID)")
    log_ticks(axes.yaxis, *axes.get_ylim())


def _ticks(axes: Axes, sweep: Sweep) -> list[int]:
    """The S of the sweep and of the paper's curves in view."""
    low, high = axes.get_xlim()
    candidates = {cell.timesteps for cell in _measured(sweep)}
    if is_fid(sweep) and paper_fid(sweep.dataset, PAPER_TIMESTEPS[0], 0.0):
        candidates |= set(PAPER_TIMESTEPS)
    return [steps for steps in sorted(candidates) if low <= steps <= high]


def _legend(sweep: Sweep, name: str) -> list[Line2D]:
    """One entry an eta, told by colour, and one an engine, told by line."""
    entries = [
        Line2D([], [], color=_colour(sweep, eta), lw=4, label=_label(eta)) for eta in _etas(sweep)
    ]
    entries.append(Line2D([], [], ls="", label=""))
    entries += [
        Line2D([], [], color=INK, label=NAMES[engine], **_LINES[engine])
        for engine in sweep.engines
        if _measured(sweep, engine)
    ]
    shown = name == "distance_by_steps" and is_fid(sweep)
    if shown and any(paper_fid(sweep.dataset, PAPER_TIMESTEPS[0], eta) for eta in _etas(sweep)):
        entries.append(Line2D([], [], color=INK, label="DDIM paper", **_PAPER))
    return entries


def _label(eta: Eta) -> str:
    return eta_text(eta) if isinstance(eta, str) else f"η = {eta_text(eta)}"


def _measured(sweep: Sweep, engine: str | None = None, eta: Eta | None = None) -> list[Cell]:
    """The cells with a distance, by ascending S."""
    found = [
        cell
        for cell in sweep.cells
        if cell.distance is not None
        and engine in (None, cell.engine)
        and (eta is None or cell.eta == eta)
    ]
    return sorted(found, key=lambda cell: cell.timesteps)


def _distances(cells: list[Cell]) -> list[float]:
    return [cell.distance for cell in cells if cell.distance is not None]


def _etas(sweep: Sweep) -> list[Eta]:
    return sorted({cell.eta for cell in _measured(sweep)}, key=lambda eta: sort_key((0, eta)))


def _colour(sweep: Sweep, eta: Eta) -> str:
    if isinstance(eta, str):
        return PINK
    return _COLOURS[_etas(sweep).index(eta) % len(_COLOURS)]
