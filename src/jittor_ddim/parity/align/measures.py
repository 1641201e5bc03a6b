"""How far two arrays are apart, and how far they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.parity.align.worker.trees import Store, leaves

Array = NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """What rounding explains; all relative."""

    module: float  # root mean square over an output's, of one module given the same input
    whole: float  # the same at the end of the whole network
    loss: float
    gradient: float  # largest difference over the largest gradient
    step: float  # of the update, over elements whose gradient is no rounding error
    losses: float  # any of the N losses
    samples: float


#: By precision; the roundoff is 6e-8, 5e-4 (TF32 and float16) and 4e-3.
BOUNDS = {
    "float64": Bounds(1e-12, 1e-10, 1e-10, 1e-9, 1e-6, 1e-8, 1e-8),
    "float32": Bounds(3e-6, 1e-4, 2e-5, 1e-4, 2e-3, 2e-4, 1e-3),
    "tf32": Bounds(2e-3, 1e-2, 5e-3, 3e-2, 0.1, 2e-2, 5e-2),
    "float16": Bounds(4e-3, 2e-2, 5e-3, 3e-2, 0.1, 2e-2, 5e-2),
    "bfloat16": Bounds(2e-2, 0.1, 2e-2, 0.1, 0.3, 5e-2, 0.2),
}

#: How far what a dropout keeps may be from one scale: the roundoff of bfloat16, and a little.
_ONE_SCALE = 2e-2


def rms(array: Array) -> float:
    """Return the root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.abs(wide(array)) ** 2))) if array.size else 0.0


def wide(array: Array) -> Array:
    """Return an array in float64, or in complex128 if it is complex."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def distance(first: Array, second: Array, least: float = 0.0) -> float:
    """Return the root mean square of the difference over that of the first.

    Integers must be equal. Arrays of other sizes, and others' NaN, are infinitely far. Those of
    one size and other shapes are laid out in another way: they are compared in order of size.

    :param least: the magnitude below which nothing counts as large
    """
    if first.size != second.size:
        return math.inf
    if (first.shape or (1,)) != (second.shape or (1,)):
        first, second = np.sort(first, None), np.sort(second, None)
    if first.dtype.kind in "biu" and second.dtype.kind in "biu":
        return 0.0 if np.array_equal(first.reshape(-1), second.reshape(-1)) else math.inf
    one, other = (wide(a).reshape(-1) for a in (first, second))
    with np.errstate(invalid="ignore"):
        same = (one == other) | (np.isnan(one) & np.isnan(other))
    if same.all():
        return 0.0
    gap = (one - other)[~same]
    if not np.isfinite(gap).all():
        return math.inf
    scale = max(rms(one[np.isfinite(one)]), least, 1e-30)
    return math.sqrt(float(np.vdot(gap, gap).real) / one.size) / scale


def tree_distance(
    store: Store,
    first: dict[str, Any],
    second: dict[str, Any],
    least: float = 0.0,
    partly: bool = False,
) -> float:
    """Return the largest distance of two trees' arrays, paired in order.

    :param partly: where one has more of them, pair those at the same places: a module may return
        what its port does not, as attention its weights
    """
    ours, theirs = leaves(first), leaves(second)
    if len(ours) != len(theirs):
        shared = dict(ours).keys() & dict(theirs).keys() if partly else set()
        if not shared:
            return math.inf
        ours, theirs = ([leaf for leaf in tree if leaf[0] in shared] for tree in (ours, theirs))
    worst = 0.0
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        if one["array"] != other["array"]:
            gap = distance(store.get(one["array"]), store.get(other["array"]), least)
            worst = max(worst, gap)
    return worst


def tree_rms(store: Store, tree: dict[str, Any]) -> float:
    """Return the largest root mean square of a tree's arrays."""
    arrays = [store.get(array["array"]) for _, array in leaves(tree)]
    finite = [a[np.isfinite(a)] for a in arrays if a.dtype.kind == "f"]
    return max((rms(a) for a in finite), default=0.0)


def relative(first: float, second: float) -> float:
    """Return how far two numbers are apart, relative to the first; NaN is far from NaN, too."""
    gap = abs(first - second) / max(abs(first), 1e-30)
    return gap if math.isfinite(gap) else math.inf


def precision_of(dtypes: list[str]) -> str:
    """Return the roughest float type among these; float32 if there is none."""
    order = ("bfloat16", "float16", "float32", "float64")
    return next((name for name in order if name in dtypes), "float32")


def kept(x: Array, y: Array) -> tuple[float, float]:
    """Return which share of the numbers a dropout zeroed, and the scale of the others.

    The share is 0 and the scale NaN of what is no dropout: if the others have no one scale.
    """
    if x.shape != y.shape or not (x != 0).any():
        return 0.0, math.nan
    alive = x != 0
    ratio = y[alive].astype(np.float64) / x[alive]
    others = ratio[ratio != 0]
    scale = float(np.median(others)) if others.size else 0.0
    if not np.allclose(others, scale, rtol=_ONE_SCALE):
        return 0.0, math.nan
    return 1 - others.size / ratio.size, scale
