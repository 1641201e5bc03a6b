"""Figures of a training run, drawn from its metrics.jsonl."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jittor_ddim.errors import UserError
from jittor_ddim.figures.saving import NUMBERS, log_ticks, new_figure, save_figure, say, source_of
from jittor_ddim.figures.style import BLUE, GREY, ORANGE, STYLE
from jittor_ddim.runs.metrics_log import read_columns

Column = NDArray[np.float64]
Columns = dict[str, Column]
#: A step this many times slower than the median one is marked.
_SLOW = 2.0


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
    run = log_folder.resolve().name
    draws: dict[str, Callable[[Axes, Columns], None]] = {
        "loss": _draw_loss,
        "step_time": _draw_step_time,
        "memory": _draw_memory,
        "utilization": _draw_utilization,
    }
    written, whose = [], str(log_folder.resolve())
    for name in (*draws, "overview"):
        path = out / f"{name}.png"
        # Figures in the run's own folder may be of a release that did not say whose they were.
        own = log_folder.resolve() in path.resolve().parents
        if path.exists() and source_of(path) not in ((whose, None) if own else (whose,)):
            raise UserError(f"{path}: exists and shows something else; choose another --out")
    with matplotlib.rc_context(STYLE):
        for name, draw in draws.items():
            figure = new_figure(7.2, 4.2)
            axes = figure.subplots()
            draw(axes, columns)
            # A run's name is plain text: `$` is no mathematics.
            axes.set_title(run, loc="right", color=GREY, weight="normal", parse_math=False)
            written.append(save_figure(figure, out / f"{name}.png", whose))
        figure = new_figure(13, 8.2)
        for axes, draw in zip(figure.subplots(2, 2).flat, draws.values(), strict=True):
            draw(axes, columns)
        figure.suptitle(run, color=GREY, fontsize=12, parse_math=False)
        written.append(save_figure(figure, out / "overview.png", whose))
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


def _dress(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel("step")
    axes.margins(x=0.015)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.yaxis.set_major_formatter(NUMBERS)


def _raw_and_smooth(axes: Axes, steps: Column, values: Column, colour: str, label: str) -> None:
    marker = "o" if len(steps) < 40 else None
    span = max(1, round(len(steps) / 40))
    if span == 1:
        axes.plot(steps, values, color=colour, marker=marker, ms=3, label=label)
        return
    axes.plot(steps, values, color=colour, lw=0.6, alpha=0.3, marker=marker, ms=2)
    axes.plot(steps, smooth(values, span), color=colour, label=f"{label}, smoothed")


def _draw_loss(axes: Axes, columns: Columns) -> None:
    loss, per_element = _column(columns, "loss"), _column(columns, "loss_per_element")
    if loss is None or per_element is None:
        _dress(axes, "Loss", "loss per element")
        say(axes, "no finite loss in this log")
        return
    steps = columns["step"]
    # The official loss sums over an image, so the two scales differ by the elements of one.
    elements = float(np.nanmedian(loss / per_element))
    _raw_and_smooth(axes, steps, per_element, BLUE, "training")
    validation = _column(columns, "validation_loss")
    if validation is not None:
        axes.plot(
            steps,
            validation / elements,
            "D",
            color=ORANGE,
            ms=4.5,
            mec="white",
            mew=0.6,
            label="validation",
            zorder=4,
        )
    axes.set_yscale("log")
    _dress(axes, "Loss", "loss per element")
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
    times = _column(columns, "step_time_s")
    if times is None:
        _dress(axes, "Step time", "seconds")
        say(axes, "no step times in this log")
        return
    steps = columns["step"]
    known = times[np.isfinite(times)]
    p50, p95, p99 = np.percentile(known, (50, 95, 99))
    slow = times > _SLOW * p50
    axes.plot(steps, times, color=BLUE, lw=0.8, marker="o" if len(steps) < 40 else None, ms=3)
    if slow.any():
        axes.plot(
            steps[slow],
            times[slow],
            "o",
            color=ORANGE,
            ms=4,
            mec="white",
            mew=0.5,
            label=f"{slow.sum():,} steps above {_SLOW:g} x the median",
        )
        axes.legend(loc="upper center")
    axes.set_yscale("log")
    _dress(axes, "Step time", "seconds")
    log_ticks(axes.yaxis, *axes.get_ylim())
    lines = [
        f"p50  {p50:.3g} s",
        f"p95  {p95:.3g} s",
        f"p99  {p99:.3g} s",
        f"max  {known.max():.3g} s",
    ]
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
    def line(values: Column, colour: str, label: str) -> None:
        axes.plot(columns["step"], values, color=colour, label=label)

    _draw_host_and_gpu(axes, columns, line, {"host": "host_memory_mb", "GPU": "gpu_memory_mb"})
    _dress(axes, "Memory", "MB")


def _draw_utilization(axes: Axes, columns: Columns) -> None:
    def line(values: Column, colour: str, label: str) -> None:
        _raw_and_smooth(axes, columns["step"], values, colour, label)

    _draw_host_and_gpu(axes, columns, line, {"CPU": "cpu_utilization", "GPU": "gpu_utilization"})
    _dress(axes, "Utilisation", "%")
    if axes.get_ylim()[1] <= 130:
        axes.set_ylim(0, 118)
        axes.set_yticks(range(0, 101, 20))


def _draw_host_and_gpu(
    axes: Axes,
    columns: Columns,
    line: Callable[[Column, str, str], None],
    keys: dict[str, str],
) -> None:
    """Draw the two series from zero, with room for the legend; say which one is missing."""
    top = 0.0
    for (label, key), colour in zip(keys.items(), (BLUE, ORANGE), strict=True):
        values = _column(columns, key)
        if values is None:
            axes.plot([], [], " ", label=f"no {label} in this log")
        else:
            line(values, colour, label)
            top = max(top, float(np.nanmax(values)))
    axes.set_ylim(0, 1.3 * top or 1)
    axes.legend(loc="upper right", ncols=2)
