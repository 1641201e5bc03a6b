"""Per-step series as arrays: percentiles, and few enough points to draw and to embed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.results import Series
from jittor_ddim.figures.animation import spread

Column = NDArray[np.float64]
#: A curve of more steps is drawn by the least and the largest of this many equal stretches.
STRETCHES = 300
#: The page has at most this many steps per side; results.json has all.
MOST_STEPS = 2000


def column(values: Sequence[float | None] | None) -> Column:
    """Return a column with NaN for what was not measured; nothing at all is an empty one."""
    return np.array([np.nan if v is None else v for v in values or []], np.float64)


def measured(values: Sequence[float | None] | None) -> bool:
    """Whether a column holds a number."""
    return bool(np.isfinite(column(values)).any())


def outline(x: Column, y: Column) -> tuple[Column, Column]:
    """Return the points that a curve of a few hundred pixels shows: its extremes stay."""
    if len(x) <= 2 * STRETCHES:
        return x, y
    keep: set[int] = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), STRETCHES):
        values = y[part]
        if np.isfinite(values).any():
            keep |= {int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])}
        else:
            keep.add(int(part[0]))
    chosen = sorted(keep)
    return x[chosen], y[chosen]


def thinned(series: Series, most: int) -> Series:
    """Return at most ``most`` steps: the slowest of those with a cause, then evenly spread."""
    count = len(series.step)
    if count <= most:
        return series
    times = np.nan_to_num(column(series.step_time_s), nan=0.0)
    marked = sorted(
        (i for i, cause in enumerate(series.cause) if cause), key=lambda i: -float(times[i])
    )
    keep = set(marked[: most // 2])
    keep |= set(spread(count, most - len(keep)))
    chosen = sorted(keep)
    columns = {
        name: None if values is None else [values[i] for i in chosen] for name, values in series
    }
    return Series.model_validate(columns)


def common_losses(first: Series, second: Series) -> tuple[Column, Column, Column]:
    """Return the steps that both made, and the losses of both there."""
    a, b = (dict(zip(s.step, column(s.loss).tolist(), strict=True)) for s in (first, second))
    steps = sorted(set(a) & set(b))
    of_first, of_second = ([losses[k] for k in steps] for losses in (a, b))
    return column(steps), column(of_first), column(of_second)
