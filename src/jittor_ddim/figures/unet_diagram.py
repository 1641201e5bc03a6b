"""The U-Net as a picture one can put into a paper: the encoder goes down, the decoder up again."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, Patch, Rectangle
from matplotlib.path import Path as Curve

from jittor_ddim.atomic import write_atomic
from jittor_ddim.config import Config
from jittor_ddim.errors import UserError
from jittor_ddim.figures.style import GREEN, GREY, INK, SKY, STYLE
from jittor_ddim.figures.unet_layout import RAIL_GAP, Bar, arrange, skip_connections

#: The suffixes :func:`draw_unet` understands; the last two are vector graphics.
SUFFIXES = (".png", ".svg", ".pdf")

_STYLE: dict[Any, Any] = STYLE | {
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,  # publishers refuse the default, Type 3
    "svg.hashsalt": "unet",  # the same config gives the same file
}
_COLOURS = {"res": SKY, "attention": "#E69F00", "resample": "#D0D0D0", "conv": GREY}
_SMALL = 7.0
_LINE, _THIN = 0.9, 0.6

Point = tuple[float, float]


def draw_unet(config: Config, path: Path, replace: bool = True) -> None:
    """Draw the U-Net of a config into a file, whose suffix says in which format.

    :param path: its folder is made if missing
    :param replace: whether another file there may be replaced
    :raises UserError: if it may not, the path is a folder, or its suffix is not one of
        :data:`SUFFIXES`
    """
    check_picture_path(path)
    buffer = io.BytesIO()
    # No date in the file: the same config gives the same bytes.
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix]
    with matplotlib.rc_context(_STYLE):
        unet_figure(config).savefig(buffer, format=path.suffix[1:], dpi=300, metadata=undated)
    if not replace and path.exists() and path.read_bytes() != buffer.getvalue():
        raise UserError(f"{path}: exists and is another picture; name the file with `out`")
    write_atomic(path, buffer.getvalue(), sync=False)


def check_picture_path(path: Path) -> None:
    """Raise a :class:`UserError` for a path that :func:`draw_unet` refuses."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a picture's name must end in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")


def unet_figure(config: Config) -> Figure:
    """Return the drawing as a figure whose only axes are measured in inches."""
    bars, width, height = arrange(config)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    _draw_flow(axes, bars)
    _draw_skips(axes, bars)
    for bar in bars:
        _draw_bar(axes, bar)
    _draw_shapes(axes, bars)
    _draw_ends(axes, bars, config)
    _draw_time_embedding(axes, config)
    _draw_legend(axes, bars, config)
    return figure


def _draw_flow(axes: Axes, bars: list[Bar]) -> None:
    for before, after in pairwise(bars):
        if before.row == after.row:
            axes.plot((before.right, after.x), (before.y, after.y), color=INK, linewidth=_LINE)
        elif before.row < after.row:  # down, then into its side
            corner = (before.centre, after.y)
            _arrow(axes, [(before.centre, before.bottom), corner, (after.x, after.y)])
        else:  # out of its side, then up
            corner = (after.centre, before.y)
            _arrow(axes, [(before.right, before.y), corner, (after.centre, after.bottom)])


def _draw_skips(axes: Axes, bars: list[Bar]) -> None:
    lines: dict[int, int] = {}  # drawn so far, by row
    for source, target in skip_connections(bars):
        lines[target.row] = lines.get(target.row, 0) + 1
        rail = target.top + RAIL_GAP * (lines[target.row] + 0.5)
        start, end = source.centre, target.x + target.width / 2
        points = [(start, source.top), (start, rail), (end, rail), (end, target.top)]
        _arrow(axes, points, GREY, _THIN)


def _arrow(axes: Axes, points: list[Point], colour: str = INK, linewidth: float = _LINE) -> None:
    """An arrow along upright and level lines with rounded corners."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before), corner, _towards(corner, after)]
        codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    path = Curve([*vertices, points[-1]], [*codes, Curve.LINETO])
    style = "-|>,head_length=2.4,head_width=1.2"
    look = {"color": colour, "linewidth": linewidth, "mutation_scale": 1, "joinstyle": "miter"}
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, **look))


def _towards(start: Point, end: Point, distance: float = 0.05) -> Point:
    """The point at a distance from the start, at most half way."""
    (x, y), (u, v) = start, end
    share = min(distance / max(abs(u - x) + abs(v - y), 1e-9), 0.5)
    return (x + share * (u - x), y + share * (v - y))


def _draw_bar(axes: Axes, bar: Bar) -> None:
    parts = [(bar.kind, bar.x, bar.width)]
    if bar.attention:
        parts.append(("attention", bar.x + bar.width, bar.attention_width))
    for kind, x, width in parts:
        look = {"facecolor": _COLOURS[kind], "edgecolor": INK, "linewidth": 0.5, "zorder": 3}
        axes.add_patch(Rectangle((x, bar.bottom), width, bar.height, **look))
    if bar.kind == "res":
        _draw_dot(axes, bar.x + bar.width / 2, bar.bottom + 0.06)


def _draw_dot(axes: Axes, x: float, y: float) -> None:
    """The mark of the time embedding."""
    axes.add_patch(Circle((x, y), 0.025, facecolor=GREEN, edgecolor="white", lw=0.4, zorder=4))


def _draw_shapes(axes: Axes, bars: list[Bar]) -> None:
    """Under each group of bars: channels x height x width of its blocks' outputs."""
    blocks = [bar for bar in bars if bar.kind == "res"]
    groups = {(bar.side, bar.row): bar for bar in blocks}  # its last block
    for (side, row), last in groups.items():
        group = [bar for bar in bars if (bar.side, bar.row) == (side, row) and bar.kind != "conv"]
        if side == "down":  # left of the arrow that leaves the last bar
            x, align = last.centre - 0.06, "right"
        elif side == "up":  # right of the arrow that reaches the first bar
            x, align = group[0].centre + 0.06, "left"
        else:
            x, align = (group[0].x + last.right) / 2, "center"
        text = f"{last.channels} × {last.size} × {last.size}"
        axes.text(x, last.bottom - 0.05, text, ha=align, va="top", fontsize=_SMALL)


def _draw_ends(axes: Axes, bars: list[Bar], config: Config) -> None:
    first, last = bars[0], bars[-1]
    shape = " × ".join(str(extent) for extent in config.sample_shape)
    for x, align, text in (
        (first.x - 0.32, "right", "$x_t$"),
        (last.right + 0.32, "left", r"$\epsilon_\theta(x_t, t)$"),
    ):
        axes.text(x, first.y + 0.01, text, ha=align, va="bottom", fontsize=12)
        axes.text(x, first.y - 0.03, shape, ha=align, va="top", fontsize=_SMALL)
    _arrow(axes, [(first.x - 0.26, first.y), (first.x, first.y)])
    _arrow(axes, [(last.right, last.y), (last.right + 0.26, last.y)])


def _draw_time_embedding(axes: Axes, config: Config) -> None:
    """From t to the residual blocks, centred under the U."""
    channels, classes, y = config.model.ch, config.model.num_classes, 0.84
    space = 0.26 if classes is None else 0.2
    boxes = [
        (f"sine and cosine\n{channels}", 1.0),
        (f"linear, SiLU\n{4 * channels}", 0.85),
        (f"linear\n{4 * channels}", 0.6),
    ]
    if classes is not None:
        boxes.append((f"+ class\n{classes} or none", 0.7))
    before, behind = 0.12, 1.75  # the widths of t and of the last words
    total = before + sum(width + space for _, width in boxes) + space + behind
    x = (axes.get_xlim()[1] - total) / 2
    axes.text(x, y, "$t$", ha="left", va="center", fontsize=12)
    x += before
    for text, width in boxes:
        _arrow(axes, [(x, y), (x + space, y)], GREEN)
        x += space
        axes.add_patch(Rectangle((x, y - 0.16), width, 0.32, fill=False, ec=GREEN, lw=0.8))
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=_SMALL)
        x += width
    _arrow(axes, [(x, y), (x + space, y)], GREEN)
    _draw_dot(axes, x + space + 0.06, y)
    text = "to each residual block"
    axes.text(x + space + 0.14, y, text, ha="left", va="center", fontsize=_SMALL)


def _draw_legend(axes: Axes, bars: list[Bar], config: Config) -> None:
    resampling = "convolution" if config.model.resamp_with_conv else "mean, nearest"
    names = {
        "res": "residual block",
        "attention": "self-attention",
        "conv": "first, last convolution",
        "resample": f"down-, upsampling ({resampling})",
    }
    if all(bar.kind != "resample" for bar in bars):  # a single level
        del names["resample"]
    swatches: list[Patch | Line2D] = [
        Patch(facecolor=_COLOURS[kind], edgecolor=INK, linewidth=0.5, label=name)
        for kind, name in names.items()
    ]
    swatches += [
        Line2D([], [], color=GREY, linewidth=_THIN, label="skip connection (concatenated)"),
        Line2D([], [], linestyle="", label="bar width: channels, height: resolution (log)"),
    ]
    look = {"handlelength": 1.2, "handleheight": 0.9, "columnspacing": 1.6, "borderaxespad": 0.8}
    axes.legend(handles=swatches, loc="lower center", ncols=3, fontsize=_SMALL, **look)
