"""Where the parts of the U-Net stand in its picture, in inches.

Bars stand in the order of execution, each to the right of the one before it, and each level of the
U-Net is a row, so that nothing covers anything else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from jittor_ddim.architecture import layers
from jittor_ddim.config import Config

#: Of the input, the output and their names beside the first row.
END_WIDTH = 1.05
#: Between the line of a skip connection and the next one.
RAIL_GAP = 0.075
#: Under the U, for the time embedding and the legend, and the width that these need.
FOOT_HEIGHT, FOOT_WIDTH = 1.05, 6.2

_GAP, _TURN = 0.06, 0.14  # between two bars of a row; where the row changes
_WIDEST, _NARROWEST, _ATTENTION_WIDTH = 0.19, 0.07, 0.05
_LOWEST, _HIGHER = 0.32, 0.14  # the height of the lowest level; more for each level above it
_ROW_GAP, _MARGIN = 0.3, 0.1


@dataclass
class Bar:
    """A residual block with its attention, or a convolution, drawn as one bar."""

    kind: str  # res, resample, conv
    side: str  # down, mid, up
    row: int
    channels: int
    size: int  # height and width of the feature map in pixels
    attention: bool = False
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    attention_width: float = 0.0

    @property
    def right(self) -> float:
        """The right edge, attention included."""
        return self.x + self.width + self.attention_width

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y - self.height / 2

    @property
    def centre(self) -> float:
        """The x between both edges."""
        return (self.x + self.right) / 2


def arrange(config: Config) -> tuple[list[Bar], float, float]:
    """Return the bars in the order of execution, and the width and height of the figure."""
    bars = list(_bars(config))
    rows = max(bar.row for bar in bars) + 1
    heights = [_LOWEST + _HIGHER * max(rows - 2 - row, 0) for row in range(rows)]
    centres = [0.0] * rows
    edge = FOOT_HEIGHT + _ROW_GAP
    for row in reversed(range(rows)):
        centres[row] = edge + heights[row] / 2
        edge += heights[row] + _ROW_GAP

    widest = max(bar.channels for bar in bars)
    x = _MARGIN + END_WIDTH
    for before, bar in pairwise([bars[0], *bars]):
        if bar is not before:
            x += _GAP if bar.row == before.row else _TURN
        bar.x, bar.y, bar.height = x, centres[bar.row], heights[bar.row]
        bar.width = max(_NARROWEST, _WIDEST * bar.channels / widest)
        bar.attention_width = _ATTENTION_WIDTH if bar.attention else 0
        x = bar.right
    width = x + END_WIDTH + _MARGIN
    indent = max(FOOT_WIDTH - width, 0) / 2
    for bar in bars:
        bar.x += indent
    rails = RAIL_GAP * (config.model.num_res_blocks + 2)
    return bars, width + 2 * indent, edge - _ROW_GAP + rails + _MARGIN


def skip_connections(bars: list[Bar]) -> list[tuple[Bar, Bar]]:
    """Return (source, target) of each skip: a decoder block takes the newest map that is left."""
    stack = [bar for bar in bars if bar.side == "down"]
    return [(stack.pop(), bar) for bar in bars if bar.side == "up" and bar.kind == "res"]


def _bars(config: Config) -> Iterator[Bar]:
    """The bars without their places, read off the table of layers."""
    lowest = len(config.model.ch_mult)
    bar: Bar | None = None
    for layer in layers(config):
        stage, *rest = layer.name.split(".")
        side = {"conv_in": "down", "conv_out": "up"}.get(stage, stage)
        row = lowest if stage == "mid" else int(rest[0]) if stage in ("down", "up") else 0
        if layer.kind == "attention" and bar:
            bar.attention = True
        if layer.kind in ("downsample", "upsample"):
            kind, row = "resample", row + (1 if layer.kind == "downsample" else -1)
        elif rest and rest[-1] == "conv1":
            kind = "res"
        elif layer.name in ("conv_in", "conv_out"):
            kind = "conv"
        else:
            continue
        if bar:
            yield bar
        bar = Bar(kind, side, row, layer.out_shape[0], layer.out_shape[1])
    if bar:
        yield bar
