"""Figures of a training run, drawn from its metrics.jsonl."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jittor_ddim.errors import UserError
from jittor_ddim.figures.saving import dress, log_ticks, new_figure, save_figure, say, source_of
from jittor_ddim.figures.style import BLUE, GREY, ORANGE, STYLE
from jittor_ddim.runs.metrics_log import SLOW, read_columns

Column = NDArray[np.float64]
Columns = dict[str, Column]


def plot_run(log_folder: Path, out: Path) -> list[Path]:
    """Draw loss, step time, memory and utilisation of a run, and all four in one overview.

    :param log_folder: holds metrics.jsonl
    :param out: the folder of the figures
    :returns: the PNG files written
    :raises UserError: if there is no metrics.jsonl or no step in it, or the folder has figures of
        another run
    """
    source = log_folder / "metrics.jsonl"
    columns = read_columns(source)
    if "step" not in columns:
        raise UserError(f"{source}: has no steps yet; plot once the run has made some")
    folder, run = log_folder.resolve(), log_folder.resolve().name
    draws: dict[str, Callable[[Axes, Columns], None]] = {
        "loss": _draw_loss,
        "step_time": _draw_step_time,
        "memory": _draw_memory,
        "utilization": _draw_utilization,
    }
    for path in (out / f"{name}.png" for name in (*draws, "overview")):
        # Figures in the run's own folder may be of a release that did not say whose they were.
        allowed = (str(folder), None) if folder in path.resolve().parents else (str(folder),)
        if path.exists() and source_of(path) not in allowed:
            raise UserError(f"{path}: exists and shows something else; choose another `out`")
    written = []
    with matplotlib.rc_context(STYLE):
        for name, draw in draws.items():
            figure = new_figure(7.2, 4.2)
            axes = figure.subplots()
            draw(axes, columns)
            # A run's name is plain text: `$` does not start mathematics.
            axes.set_title(run, loc="right", color=GREY, weight="normal", parse_math=False)
            written.append(save_figure(figure, out / f"{name}.png", str(folder)))
        figure = new_figure(13, 8.2)
        for axes, draw in zip(figure.subplots(2, 2).flat, draws.values(), strict=True):
            draw(axes, columns)
        figure.suptitle(run, color=GREY, fontsize=12, parse_math=False)
        written.append(save_figure(figure, out / "overview.png", str(folder)))
    return written


def smooth(values: Column, span: float) -> Column:
    """Return the moving average m with m_k = m_(k-1) + 2 / (s_k + 1) (v_k - m_(k-1)).

    That is an exponential moving average of s_k steps; s_k = min(span, 1 + k / 5) keeps it close
    to the steep start of a curve. NaN are left out.
    """
    out = np.full_like(values, np.nan)
    mean = np.nan
    for k, value in enumerate(values):
        if np.isfinite(value):
            weight = 2 / (min(span, 1 + k / 5) + 1)
            mean = value if np.isnan(mean) else mean + weight * (value - mean)
        out[k] = mean
    return out


def _column(columns: Columns, key: str) -> Column | None:
    """The column, or None where it holds no number."""
    column = columns.get(key)
    return column if column is not None and np.isfinite(column).any() else None


def _raw_and_smooth(axes: Axes, steps: Column, values: Column, colour: str, label: str) -> None:
    marker = "o" if len(steps) < 40 else None
    span = max(1, round(len(steps) / 40))
    if span == 1:
        axes.plot(steps, values, color=colour, marker=marker, ms=3, label=label)
        return
    axes.plot(steps, values, color=colour, lw=0.6, alpha=0.3, marker=marker, ms=2)
    axes.plot(steps, smooth(values, span), color=colour, label=f"{label}, smoothed")


def _draw_loss(axes: Axes, columns: Columns) -> None:
    dress(axes, "Loss", "loss per element", "step")
    loss, per_element = _column(columns, "loss"), _column(columns, "loss_per_element")
    if loss is None or per_element is None:
        say(axes, "no finite loss in this log")
        return
    steps = columns["step"]
    # The official loss sums over an image, so the two scales differ by the elements of one.
    elements = float(np.nanmedian(loss / per_element))
    _raw_and_smooth(axes, steps, per_element, BLUE, "training")
    validation = _column(columns, "validation_loss")
    if validation is not None:
        look = {"color": ORANGE, "ms": 4.5, "mec": "white", "mew": 0.6, "zorder": 4}
        axes.plot(steps, validation / elements, "D", label="validation", **look)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    log_ticks(axes.yaxis, low, high)
    right = axes.secondary_yaxis(
        "right",
        functions=(lambda y: np.asarray(y) * elements, lambda y: np.asarray(y) / elements),
    )
    right.set_ylabel("loss per image (sum)")
    log_ticks(right.yaxis, low, high)
    axes.legend(loc="upper right")


def _draw_step_time(axes: Axes, columns: Columns) -> None:
    dress(axes, "Step time", "seconds", "step")
    steps, times = columns["step"], _column(columns, "step_time_s")
    if times is None:
        say(axes, "no step times in this log")
        return
    known = times[np.isfinite(times)]
    p50, p95, p99 = np.percentile(known, (50, 95, 99))
    slow = times > SLOW * p50
    axes.plot(steps, times, color=BLUE, lw=0.8, marker="o" if len(steps) < 40 else None, ms=3)
    if slow.any():
        label = f"{slow.sum():,} steps above {SLOW:g} x the median"
        look = {"color": ORANGE, "ms": 4, "mec": "white", "mew": 0.5}
        axes.plot(steps[slow], times[slow], "o", label=label, **look)
        axes.legend(loc="upper center")
    axes.set_yscale("log")
    log_ticks(axes.yaxis, *axes.get_ylim())
    figures = {"p50": p50, "p95": p95, "p99": p99, "max": known.max()}
    lines = [f"{name}  {seconds:.3g} s" for name, seconds in figures.items()]
    data = _column(columns, "data_time_s")
    if data is not None:
        lines.append(f"waiting for data  {np.nansum(data) / known.sum():.1%}")
    axes.text(
        0.985,
        0.965,
        "\n".join(lines),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 3},
    )


def _draw_memory(axes: Axes, columns: Columns) -> None:
    dress(axes, "Memory", "MB", "step")
    _draw_host_and_gpu(axes, columns, {"host": "host_memory_mb", "GPU": "gpu_memory_mb"}, False)


def _draw_utilization(axes: Axes, columns: Columns) -> None:
    dress(axes, "Utilisation", "%", "step")
    _draw_host_and_gpu(axes, columns, {"CPU": "cpu_utilization", "GPU": "gpu_utilization"}, True)
    if axes.get_ylim()[1] <= 130:
        axes.set_ylim(0, 118)
        axes.set_yticks(range(0, 101, 20))


def _draw_host_and_gpu(axes: Axes, columns: Columns, keys: dict[str, str], smoothed: bool) -> None:
    """Draw the two series from zero, with room for the legend; say which one is missing."""
    top, steps = 0.0, columns["step"]
    for (label, key), colour in zip(keys.items(), (BLUE, ORANGE), strict=True):
        values = _column(columns, key)
        if values is None:
            axes.plot([], [], " ", label=f"no {label} in this log")
            continue
        if smoothed:
            _raw_and_smooth(axes, steps, values, colour, label)
        else:
            axes.plot(steps, values, color=colour, label=label)
        top = max(top, float(np.nanmax(values)))
    axes.set_ylim(0, 1.3 * top or 1)
    axes.legend(loc="upper right", ncols=2)
