"""The growth of the cost as a picture."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib

from jittor_ddim.figures.saving import log_ticks, new_figure, save_figure
from jittor_ddim.figures.style import BLUE, ORANGE, STYLE

_COLOURS = {"pytorch": ORANGE, "jittor": BLUE}
_LABELS = {
    "batch": "images in a batch",
    "S": "S, network calls",
    "image size": "pixels, height and width",
    "threads": "threads",
}


def draw_scaling(measured: list[dict[str, Any]], path: Path) -> Path:
    """Draw images a second along every axis."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.4, 6.4)
        for axes, (axis, label) in zip(figure.subplots(2, 2).flat, _LABELS.items(), strict=True):
            known = [point for point in measured if point["axis"] == axis]
            for engine, colour in _COLOURS.items():
                mine = [point for point in known if point["engine"] == engine]
                values = [point["value"] for point in mine]
                axes.plot(values, [_speed(p) for p in mine], "o-", color=colour, label=engine)
            axes.set_xscale("log")
            axes.set_yscale("log")
            if known:
                values = sorted({point["value"] for point in known})
                axes.set_xticks(values, [f"{value:,}" for value in values])
                axes.minorticks_off()
                speeds = [_speed(point) for point in known]
                log_ticks(axes.yaxis, min(speeds), max(speeds))
            axes.set_xlabel(label)
            axes.set_ylabel("images/s")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
        return save_figure(figure, path)


def _speed(point: dict[str, Any]) -> float:
    return point["images"] / statistics.median(point["seconds"])
