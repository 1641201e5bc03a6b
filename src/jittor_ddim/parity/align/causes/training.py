"""Causes in training: dropout, loss, gradients, the optimiser, its rate, its average."""

from __future__ import annotations

import math

import numpy as np

from jittor_ddim.parity.align.causes.scene import Scene
from jittor_ddim.parity.align.measures import Array, distance, kept, rms
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.results import Cause
from jittor_ddim.parity.align.training_checks import used_ratio
from jittor_ddim.parity.align.worker.trees import leaves


def dropout_eval(scene: Scene) -> Cause | None:
    """Dropout still works in evaluation mode: two calls zero different numbers."""
    if scene.finding.check != "determinism" or "evaluation" not in scene.finding.where:
        return None
    one, two, index = scene.finding.raw
    store = scene.work.store
    arrays = [leaves(call["outputs"]) for call in (one, two)]
    if not all(arrays):
        return None
    first, second = (store.get(found[0][1]["array"]) for found in arrays)
    different = ~np.isclose(first, second)
    zero = float(((first == 0) | (second == 0))[different].mean())
    if zero < 0.9:
        return None
    name = scene.work.sides[index].name
    told = say("dropout_eval", share=f"{float(different.mean()):.0%}")
    return Cause("dropout_eval", name, told, {"side": name})


def dropout_scale(scene: Scene) -> Cause | None:
    """What dropout keeps is scaled, or how much it keeps, by another rule."""
    if scene.finding.check != "train" or not scene.departure:
        return None
    numbers = []
    for call in (scene.departure.call, scene.departure.other):
        arrays = [leaves(call["inputs"]), leaves(call["outputs"])]
        if not all(arrays):
            return None
        numbers.append(kept(*(scene.work.store.get(found[0][1]["array"]) for found in arrays)))
    if not any(share > 0 for share, _ in numbers):
        return None
    side = scene.work.second.name
    shares = [f"{share:.1%}" for share, _ in numbers]
    values = [f"{scale:.4g}" for _, scale in numbers]
    told = say("dropout_scale", share=shares[0], first=values[0], other=shares[1],
               second=values[1])  # fmt: skip
    return Cause("dropout_scale", side, told, _values(side, *values))


def loss_reduction(scene: Scene) -> Cause | None:
    """One loss is another's times a number of things: a sum where the other is a mean."""
    if scene.finding.check != "loss":
        return None
    ours, theirs = (answer["loss"] for answer in scene.answers)
    if not ours or not theirs or not math.isfinite(ours / theirs):
        return None
    ratio = max(ours / theirs, theirs / ours)
    if ratio < 1.5:
        return None
    for told, count in _counts(scene).items():
        if count > 1 and abs(ratio / count - 1) < 1e-3:
            larger = 1 if theirs > ours else 0
            side = scene.work.sides[larger].name
            text = say("loss_reduction", side=side, ratio=f"{ratio:.6g}", count=told)
            return Cause("loss_reduction", side, text, _values(side, f"{ours:g}", f"{theirs:g}"))
    return None


def _counts(scene: Scene) -> dict[str, int]:
    """What could have been summed or averaged: products of the sizes of batch and outputs."""
    trees = [scene.batches[0][0]] if scene.batches else []
    trees += [call["outputs"] for call in scene.answers[0]["calls"] if call["parent"] is None]
    found: dict[str, int] = {}
    for tree in trees:
        for _, array in leaves(tree):
            sizes = array["shape"]
            for start in range(len(sizes)):
                for end in range(start + 1, len(sizes) + 1):
                    part = sizes[start:end]
                    told = say("part", part=" x ".join(map(str, part)), sizes=sizes)
                    found[told] = math.prod(part)
    return dict(sorted(found.items(), key=lambda one: len(one[0])))


def gradient_clipping(scene: Scene) -> Cause | None:
    """The optimiser is given gradients that are shorter than the loss's, on one side only."""
    if scene.finding.check not in ("step", "losses") or not scene.records:
        return None
    names = {pair.first: pair.second for pair in scene.work.pairs}
    ratios, norms = [], []
    for index, own in enumerate(scene.records):
        grads = scene.grads[index]
        used = own[0].get("used", {})
        mine = {n: used.get(names[n] if index else n) for n in grads}
        turned = {n: scene.work.to_second(n, g) if index else g for n, g in grads.items()}
        ratios.append(used_ratio(scene.work, turned, mine))
        norms.append(
            math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads.values()))
        )
    known = [1.0 if ratio is None else ratio for ratio in ratios]
    if abs(known[0] / known[1] - 1) < 1e-2:
        return None
    clipped = 0 if known[0] < known[1] else 1
    name, limit = scene.work.sides[clipped].name, known[clipped] * norms[clipped]
    told = say("gradient_clipping", side=name, ratio=f"{known[clipped]:.4g}", norm=f"{limit:.4g}")
    values = {"side": name, "first": f"{limit:.4g}", "second": ""}
    return Cause("gradient_clipping", scene.work.sides[1 - clipped].name, told, values)


def adam_epsilon(scene: Scene) -> Cause | None:
    """The first step of Adam is lr g / (|g| + epsilon): epsilon from the steps themselves."""
    if scene.finding.check != "step":
        return None
    found = []
    for index, steps in enumerate(scene.steps):
        rate = scene.records[index][0]["rate"]
        fit = rate and _fit_epsilon(rate, scene.grads[index], steps)
        if not fit:
            return None
        found.append(fit)
    rate, g = (
        scene.records[0][0]["rate"],
        np.concatenate([a.ravel() for a in scene.grads[0].values()]),
    )
    g = np.abs(g[np.abs(g) > 1e-3 * np.abs(g).max()])
    steps = [rate * g / (g + epsilon) for epsilon in found]
    if distance(steps[0], steps[1]) < 0.5 * scene.work.bounds.step:  # too little to be the cause
        return None
    first, second = (f"{epsilon:.2g}" for epsilon in found)
    told = say("adam_epsilon", first=first, second=second)
    side = scene.work.second.name
    return Cause("adam_epsilon", side, told, _values(side, first, second))


def _fit_epsilon(rate: float, grads: dict[str, Array], steps: dict[str, Array]) -> float | None:
    """The epsilon with which the steps are Adam's first; None if they are not."""
    g = np.concatenate([np.abs(grads[n]).ravel() for n in steps if n in grads]).astype(np.float64)
    d = np.concatenate([np.abs(steps[n]).ravel() for n in steps if n in grads])
    counted = (g > 1e-3 * g.max()) & (d > 0.01 * rate)
    if not counted.any() or d.max() > 1.01 * rate:
        return None
    g, d = g[counted], d[counted]
    epsilon = max(float(np.median(rate * g / d - g)), 1e-12)
    return epsilon if rms(rate * g / (g + epsilon) - d) < 0.02 * rms(d) else None


def ema_order(scene: Scene) -> Cause | None:
    """One average takes the weights from before the optimiser's step."""
    if scene.finding.check != "average":
        return None
    names = {pair.first: pair.second for pair in scene.work.pairs}
    moved = []
    for index, own in enumerate(scene.records):
        average, share = own[0]["average"], []
        for name, step in scene.steps[index].items():
            key = average.get(names[name] if index else name)
            if key is None or rms(step) == 0:
                continue
            begin = scene.work.store.get(scene.work.state[0][name]["array"]).astype(np.float64)
            begin = scene.work.to_second(name, begin) if index else begin
            gap = scene.work.store.get(key).reshape(begin.shape) - begin
            step = (scene.work.to_second(name, step) if index else step).reshape(begin.shape)
            share.append(float((gap * step).sum() / (step * step).sum()))
        moved.append(float(np.median(share)) if share else math.nan)
    early = 0 if moved[0] < moved[1] else 1
    if not moved[early] < 0.05 * moved[1 - early]:
        return None
    name = scene.work.sides[early].name
    told = say("ema_order", first=f"{moved[0]:.3g}", second=f"{moved[1]:.3g}")
    return Cause("ema_order", name, told, {"side": name})


def rate_off_by_one(scene: Scene) -> Cause | None:
    """The rates are the same, one step later."""
    if scene.finding.check != "rate":
        return None
    one, other = ([record["rate"] for record in own] for own in scene.records)
    for late, (a, b) in enumerate(((other, one), (one, other))):
        if len(a) > 2 and np.allclose(a[:-1], b[1:], rtol=1e-5, atol=0):
            # Side `1 - late` uses at a step what the other uses at the next.
            name = scene.work.sides[late].name
            told = say("rate_off_by_one", side=name)
            return Cause("rate_off_by_one", name, told, {"side": name})
    return None


def initialisation(scene: Scene) -> Cause | None:
    """Fresh weights are of another distribution: how both go with the number of inputs."""
    if scene.finding.check != "initialisation":
        return None
    name, told = scene.finding.where, scene.finding.raw[0]
    side = scene.work.second.name
    shape = scene.work.state[0][name]["shape"]
    if len(shape) > 1:
        outputs = shape[0] * math.prod(shape[2:])
        told = say("fans", told=told, inputs=math.prod(shape[1:]), outputs=outputs)
    return Cause("initialisation", side, told, {"first": name, "second": "", "side": side})


def data_order(scene: Scene) -> Cause | None:
    """Both sides see the same examples in another order."""
    if scene.finding.check != "batch":
        return None
    rows = [_rows(scene, own) for own in scene.batches]
    if not rows[0] or sorted(rows[0]) != sorted(rows[1]) or rows[0] == rows[1]:
        first = set(rows[0])
        shared = sum(row in first for row in rows[1])
        if shared < 0.2 * len(rows[1]) or rows[0] == rows[1]:
            return None
        told = say("shared", shared=shared, count=len(rows[1]))
    else:
        place = rows[1].index(rows[0][0])
        told = say("data_order", count=len(rows[0]), place=place)
    side = scene.work.second.name
    return Cause("data_order", side, told, {"side": side})


def _rows(scene: Scene, batches: list) -> list[bytes]:
    """The examples of all batches: of the largest array, so that equal labels do not count."""
    found = []
    for batch in batches:
        arrays = [scene.work.store.get(array["array"]) for _, array in leaves(batch)]
        largest = max(arrays, key=lambda array: array.size)
        if largest.ndim:
            found += [np.round(row.astype(np.float64), 4).tobytes() for row in largest]
    return found


def normalisation(scene: Scene) -> Cause | None:
    """What the network is given is the other's, times a constant and plus another."""
    for one, other in _given(scene):
        if one.shape != other.shape or one.ndim < 2 or distance(one, other) < 1e-6:
            continue
        for axis in dict.fromkeys((None, 1, one.ndim - 1)):
            fit = _affine(one.astype(np.float64), other.astype(np.float64), axis)
            if fit:
                side = scene.work.second.name
                told = say("normalisation", first=fit[0], second=fit[1])
                return Cause("normalisation", side, told, _values(side, *fit))
    return None


def _given(scene: Scene) -> list[tuple[Array, Array]]:
    if scene.finding.check == "batch":
        trees = scene.finding.raw
    elif scene.departure and "depart" in scene.departure.where:
        trees = [scene.departure.ours, scene.departure.theirs]
    else:
        return []
    get = scene.work.store.get
    pairs = zip(*(leaves(tree) for tree in trees), strict=False)
    arrays = [(get(a["array"]), get(b["array"])) for (_, a), (_, b) in pairs]
    return [(a, b) for a, b in arrays if a.dtype.kind == "f" and b.dtype.kind == "f"]


def _affine(one: Array, other: Array, axis: int | None) -> tuple[str, str] | None:
    """Scale and offset, one for all or one a channel; None where that is not all."""
    lines = [(one, other)]
    if axis is not None:
        if one.shape[axis] > 16:
            return None
        lines = [(one.take(k, axis), other.take(k, axis)) for k in range(one.shape[axis])]
    found = []
    for x, y in lines:
        if x.std() == 0:
            return None
        scale, offset = np.polyfit(x.ravel(), y.ravel(), 1)
        if rms(scale * x + offset - y) > 1e-4 * max(y.std(), 1e-12) or abs(scale) < 1e-6:
            return None
        found.append((scale, offset))
    return tuple(", ".join(f"{v[k]:.4g}" for v in found) for k in (0, 1))  # pyright: ignore


def _values(side: str, first: str, second: str) -> dict[str, str]:
    return {"side": side, "first": first, "second": second}
