"""Causes in a module that departs: its output computed anew by either rule, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import erf, expit

from jittor_ddim.parity.align.causes.scene import Scene
from jittor_ddim.parity.align.measures import Array, distance, rms, tree_distance
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.results import Cause
from jittor_ddim.parity.align.worker.trees import leaves


def gelu_form(scene: Scene) -> Cause | None:
    """One side computes GELU with erf, the other by tanh or a sigmoid (arXiv 1606.08415, 2)."""
    x = scene.x
    if x is None or len(scene.y) != 2 or x.shape != scene.y[0].shape:
        return None
    wide = x.astype(np.float64)
    inner = np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)
    forms = {
        "erf": wide * 0.5 * (1 + erf(wide / np.sqrt(2))),
        "tanh": 0.5 * wide * (1 + np.tanh(inner)),
        "sigmoid": wide * expit(1.702 * wide),
    }
    names = scene.explained_by(forms)
    if names is None:
        return None
    told = say("gelu_form", first=names[0], second=names[1])
    return _cause(scene, "gelu_form", told, names)


def softmax_axis(scene: Scene) -> Cause | None:
    """Both outputs are softmaxes, along different axes."""
    if len(scene.y) != 2 or scene.y[0].ndim < 2:
        return None
    axes = []
    for y in scene.y:
        sums = {k: float(np.abs(y.sum(k, dtype=np.float64) - 1).max()) for k in range(y.ndim)}
        axes.append([k - y.ndim for k, gap in sums.items() if gap < 1e-3 and y.min() >= 0])
    if not axes[0] or not axes[1] or set(axes[0]) & set(axes[1]):
        return None
    names = [str(found[0]) for found in axes]
    told = say("softmax_axis", first=names[0], second=names[1])
    return _cause(scene, "softmax_axis", told, names)


def reordered(scene: Scene) -> Cause | None:
    """Both sides have the same numbers at other places: a reshape without the permute."""
    if len(scene.y) != 2 or scene.y[0].shape != scene.y[1].shape or scene.gap < 1e-2:
        return None
    one, other = (np.sort(y, None) for y in scene.y)
    if distance(one, other) > scene.work.bounds.module:
        return None
    moved = f"{float((~np.isclose(scene.y[0], scene.y[1])).mean()):.0%}"
    told = say("reordered", share=moved)
    return _cause(scene, "reordered", told, [moved, ""])


def align_corners(scene: Scene) -> Cause | None:
    """Interpolation places its samples by another rule."""
    x = scene.x
    if x is None or x.ndim != 4 or len(scene.y) != 2 or scene.y[0].ndim != 4:
        return None
    size = scene.y[0].shape[2:]
    if size == x.shape[2:] or scene.y[0].shape[:2] != x.shape[:2]:
        return None
    forms = {
        "align_corners=True": resize(x, size, True),
        "align_corners=False": resize(x, size, False),
        "mode='nearest'": _nearest(x, size),
    }
    names = scene.explained_by(forms)
    if names is None:
        return None
    told = say("align_corners", first=names[0], second=names[1])
    return _cause(scene, "align_corners", told, names)


def resize(x: Array, size: tuple[int, ...], corners: bool) -> Array:
    """Return bilinear interpolation of N x C x H x W, without smoothing."""
    out = x.astype(np.float64)
    for axis, length in zip((2, 3), size, strict=True):
        have = out.shape[axis]
        if corners:
            place = np.arange(length) * ((have - 1) / max(length - 1, 1))
        else:
            place = (np.arange(length) + 0.5) * have / length - 0.5
        place = np.clip(place, 0, have - 1)
        low = np.minimum(place.astype(np.int64), max(have - 2, 0))
        high = np.minimum(low + 1, have - 1)
        share = (place - low).reshape([-1 if k == axis else 1 for k in range(4)])
        out = out.take(low, axis) * (1 - share) + out.take(high, axis) * share
    return out


def _nearest(x: Array, size: tuple[int, ...]) -> Array:
    rows, columns = ((np.arange(n) * have // n) for n, have in zip(size, x.shape[2:], strict=True))
    return x[:, :, rows][:, :, :, columns]


def count_include_pad(scene: Scene) -> Cause | None:
    """An average over a window counts the padding on one side only."""
    x = scene.x
    kernel = scene.argument("kernel_size")
    padding = _pair(scene.argument("padding"))
    if x is None or x.ndim != 4 or kernel is None or not padding or not any(padding):
        return None
    stride = scene.argument("stride") or kernel
    forms = {
        f"count_include_pad={counted}": _average(x, _pair(kernel), _pair(stride), padding, counted)
        for counted in (True, False)
    }
    names = scene.explained_by(forms)
    if names is None:
        return None
    told = say("count_include_pad", first=names[0], second=names[1])
    return _cause(scene, "count_include_pad", told, names)


def _average(
    x: Array, kernel: list[int], stride: list[int], padding: list[int], counted: bool
) -> Array:
    wide = [(0, 0), (0, 0), *((p, p) for p in padding)]
    sums = np.pad(x.astype(np.float64), wide)
    ones = np.pad(np.ones_like(x, np.float64), wide, constant_values=float(counted))

    def windows(a: Array) -> Array:
        views = np.lib.stride_tricks.sliding_window_view(a, (1, 1, *kernel))
        return views[:, :, :: stride[0], :: stride[1]].sum((-4, -3, -2, -1))

    return windows(sums) / windows(ones)


def even_padding(scene: Scene) -> Cause | None:
    """An even kernel is padded more on one side: the output is moved, or larger by one."""
    if len(scene.y) != 2 or scene.y[0].ndim < 3:
        return None
    kernel = _pair(scene.argument("kernel_size"))
    if "pool" in scene.kind or (kernel and all(length % 2 for length in kernel)):
        return None  # a size rounded up, or another padding
    one, other = scene.y
    gaps = [a - b for a, b in zip(one.shape[2:], other.shape[2:], strict=False)]
    if one.shape != other.shape:
        if (
            one.ndim == other.ndim
            and one.shape[:2] == other.shape[:2]
            and max(map(abs, gaps)) == 1
        ):
            shapes = [str(list(y.shape[2:])) for y in scene.y]
            told = say("even_padding_sizes", first=shapes[0], second=shapes[1])
            return _cause(scene, "even_padding", told, shapes)
        return None
    axes = range(2, one.ndim)
    for shift in itertools.product((-1, 0, 1), repeat=len(axes)):
        if any(shift):
            a, b = one, other
            for axis, by in zip(axes, shift, strict=True):
                length = one.shape[axis] - 1
                a = a.take(range(max(by, 0), length + min(max(by, 0), 1)), axis) if by else a
                b = b.take(range(max(-by, 0), length + min(max(-by, 0), 1)), axis) if by else b
            if a.size and distance(a, b) < 1e-4 and scene.gap > 1e-2:
                told = say("even_padding", shift=list(shift))
                return _cause(scene, "even_padding", told, [str(list(shift)), ""])
    return None


def dtype_narrowing(scene: Scene) -> Cause | None:
    """One side computes, or keeps a constant, in a narrower type."""
    if not scene.departure:
        return None
    module = scene.departure.call["module"]
    for pair in scene.work.pairs:
        if pair.first.rpartition(".")[0] == module:
            types = [
                state[name]["dtype"]
                for state, name in zip(scene.work.state, (pair.first, pair.second), strict=True)
            ]
            if types[0] != types[1]:
                told = say("dtype_kept", name=pair.first, first=types[0], second=types[1])
                return _cause(scene, "dtype_narrowing", told, types)
    for what in ("inputs", "outputs"):
        trees = [scene.departure.call[what], scene.departure.other[what]]
        for (place, one), (_, other) in zip(*map(leaves, trees), strict=False):
            types = [one["dtype"], other["dtype"]]
            if types[0] != types[1] and _narrower(scene, one, other):
                size = f"{rms(scene.work.store.get(one['array'])):.3g}"
                told = say(
                    "dtype_passed", name=what + place, first=types[0], second=types[1], size=size
                )
                return _cause(scene, "dtype_narrowing", told, types)
    return None


def _narrower(scene: Scene, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether either array loses something in the other's type."""
    arrays = [scene.work.store.get(array["array"]) for array in (one, other)]
    if "bfloat16" in (one["dtype"], other["dtype"]):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return any(
            not np.array_equal(a, a.astype(b.dtype).astype(a.dtype), equal_nan=a.dtype.kind == "f")
            for a, b in (arrays, arrays[::-1])
        )


def side_effects(scene: Scene) -> Cause | None:
    """A module changes what it is given, or its own state, on one side only."""
    if scene.departure:
        changed = [
            [c for c in (call, *_inner(scene, k)) if c.get("altered")]
            for k, call in enumerate((scene.departure.call, scene.departure.other))
        ]
        for index in (0, 1):
            if changed[index] and not changed[1 - index] and _mended(scene, index, changed[index]):
                name = scene.work.sides[index].name
                culprit = changed[index][-1]
                told = say("in_place", module=culprit["module"], type=culprit["type"], side=name)
                return Cause("side_effects", name, told, {"side": name})
    return _own_state(scene)


def _mended(scene: Scene, index: int, changed: Sequence[Mapping[str, Any]]) -> bool:
    """Whether both sides agree if the modules that change their inputs are given copies."""
    assert scene.departure
    inputs, outputs = scene.departure.call["inputs"], []
    for side in (0, 1):
        call = (scene.departure.call, scene.departure.other)[side]
        question = {"module": call["module"], "inputs": inputs}
        if side == index:
            question["copied"] = [one["module"] for one in changed]
        outputs += scene.work.sides[side].call(
            "replay", calls=[question], train=scene.finding.check == "train",
            still=scene.work.still[side], seed=0,
        )  # fmt: skip
    if any("error" in one for one in outputs):
        return False
    one, other = (answer["outputs"] for answer in outputs)
    return tree_distance(scene.work.store, one, other, partly=True) <= scene.work.bounds.whole


def _inner(scene: Scene, side: int) -> list[dict]:
    assert scene.departure
    calls = scene.answers[side]["calls"] if scene.answers else []
    call = (scene.departure.call, scene.departure.other)[side]
    inside = (call["enter"], call["exit"])
    return [c for c in calls if inside[0] < c["enter"] and c["exit"] < inside[1]]


def _own_state(scene: Scene) -> Cause | None:
    """Evaluation changes buffers, or Python attributes between two calls."""
    if scene.finding.check == "determinism":
        one, two, index = scene.finding.raw
        changed = [k for k, v in one["arguments"].items() if two["arguments"].get(k) != v]
        if changed:
            name = scene.work.sides[index].name
            told = say("counts", name=changed[0], first=one["arguments"][changed[0]],
                       second=two["arguments"][changed[0]])  # fmt: skip
            return Cause("side_effects", name, told, {"side": name})
        return None
    if scene.finding.check != "eval":
        return None
    for index, side in enumerate(scene.work.sides):
        start = scene.work.state[index]
        for name in (pair.second if index else pair.first for pair in scene.work.pairs):
            before = start[name]["array"]
            after = scene.answers[index]["state"].get(name, before)
            if distance(scene.work.store.get(before), scene.work.store.get(after)) > 0:
                told = say("state_changes", name=name)
                return Cause("side_effects", side.name, told, {"side": side.name})
    return None


def _pair(value: object) -> list[int]:
    if isinstance(value, (list, tuple)):
        return [int(v) for v in value]
    return [int(value)] * 2 if isinstance(value, int) else []


def _cause(scene: Scene, name: str, told: str, values: list[str]) -> Cause:
    second = scene.work.second.name
    return Cause(name, second, told, {"first": values[0], "second": values[1], "side": second})
