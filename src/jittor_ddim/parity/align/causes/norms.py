"""Causes in normalising layers: epsilon, cancellation, and what BatchNorm remembers."""

from __future__ import annotations

from typing import Any

import numpy as np

from jittor_ddim.parity.align.causes.scene import Scene
from jittor_ddim.parity.align.measures import Array, distance, rms
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.results import Cause
from jittor_ddim.parity.align.worker.trees import leaves

_EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
#: Above this ratio of squared mean to variance, float32 loses digits in E x^2 - (E x)^2.
_CANCELLING = 1e3
#: How far from one factor what BatchNorm remembers may be: the network's rounding, and a little.
_ONE_FACTOR = 1e-2


def norm_epsilon(scene: Scene) -> Cause | None:
    """Both sides normalise, with another epsilon."""
    fits = _fits(scene)
    if not fits:
        return None
    best = [min(fit, key=lambda e: fit[e]) for fit in fits]
    gaps = [fit[e] for fit, e in zip(fits, best, strict=True)]
    if best[0] == best[1] or max(gaps) > 0.3 * scene.gap:
        return None
    first, second = (f"{epsilon:g}" for epsilon in best)
    told = say("norm_epsilon", first=first, second=second, gap=f"{max(gaps):.1g}")
    return _cause(scene, "norm_epsilon", told, first, second)


def norm_cancellation(scene: Scene) -> Cause | None:
    """One side computes the variance as E x^2 - (E x)^2, and the mean is large beside it."""
    fits, x = _fits(scene), scene.x
    if not fits or x is None:
        return None
    gaps = [min(fit.values()) for fit in fits]
    exact, wrong = (0, 1) if gaps[0] < gaps[1] else (1, 0)
    parts = _grouped(scene, x)
    if parts is None or gaps[wrong] < 0.5 * scene.gap or gaps[exact] > 0.5 * gaps[wrong]:
        return None
    with np.errstate(divide="ignore"):
        ratio = float((parts.mean(-1) ** 2 / parts.var(-1)).max())
    if ratio < _CANCELLING:
        return None
    name = scene.work.sides[wrong].name
    told = say(
        "norm_cancellation", ratio=f"{ratio:.2g}", side=name, gap=f"{gaps[wrong]:.1g}",
        other=f"{gaps[exact]:.1g}",
    )  # fmt: skip
    return Cause("norm_cancellation", name, told, {"side": name, "first": "", "second": ""})


def _grouped(scene: Scene, x: Array) -> Array | None:
    """The numbers that are normalised together, along the last axis, in float64."""
    wide = x.astype(np.float64)
    if "group" in scene.kind:
        groups = scene.argument("num_groups", "groups")
        return wide.reshape(x.shape[0], groups, -1) if groups and x.ndim > 1 else None
    if "instance" in scene.kind:
        return wide.reshape(x.shape[0], x.shape[1], -1)
    if "batch" in scene.kind:
        return wide.swapaxes(0, 1).reshape(x.shape[1], -1)
    weight = scene.parameter("weight")
    axes = weight.ndim if "layer" in scene.kind and weight is not None else 1
    return wide.reshape(*x.shape[: x.ndim - axes], -1)


def _fits(scene: Scene) -> list[dict[float, float]] | None:
    """How far either side's output is from the exact one, by epsilon.

    Where a layer applies swish to what it has normalised, from the exact one after it.
    """
    x = scene.x
    if x is None or len(scene.y) != 2 or x.shape != scene.y[0].shape or x.ndim < 2:
        return None
    if "norm" not in scene.kind and scene.departure and not scene.departure.where:
        return None
    given = {a["eps"] for a in scene.arguments if isinstance(a.get("eps"), float)}
    fits: list[dict[float, float]] = [{}, {}]
    for epsilon in sorted({*_EPSILONS, *given}):
        exact = _normalised(scene, x, epsilon)
        if exact is None:
            return None
        swish = exact / (1 + np.exp(-np.clip(exact, -500, 500)))
        for fit, y in zip(fits, scene.y, strict=True):
            fit[epsilon] = min(distance(y, exact), distance(y, swish))
    return fits


def _normalised(scene: Scene, x: Array, epsilon: float) -> Array | None:
    if "batch" in scene.kind and scene.finding.check == "eval":
        mean, variance = scene.parameter("running_mean"), scene.parameter("running_var")
        if mean is None or variance is None:
            return None
        out = (x - _along(mean, x)) / np.sqrt(_along(variance, x) + epsilon)
    else:
        parts = _grouped(scene, x)
        if parts is None:
            return None
        centred = parts - parts.mean(-1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            out = centred / np.sqrt(parts.var(-1, keepdims=True) + epsilon)
        if "batch" in scene.kind:
            out = out.reshape(x.shape[1], x.shape[0], *x.shape[2:]).swapaxes(0, 1)
        out = out.reshape(x.shape)
    weight, bias = scene.parameter("weight"), scene.parameter("bias")
    for array, turn in ((weight, np.multiply), (bias, np.add)):
        if array is not None:
            last = "layer" in scene.kind or array.ndim > 1
            out = turn(out, array if last else _along(array, x))
    return out


def _along(array: Array, x: Array) -> Array:
    """One number a channel, against N x C x …."""
    return array.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))


def batchnorm_momentum(scene: Scene) -> Cause | None:
    """The running averages move by another share."""
    found = _moved(scene)
    if found is None:
        return None
    shares = found[0]
    if abs(shares[0] - shares[1]) < 0.02 * abs(shares[0]):
        return None
    first, second = (f"{share:.4g}" for share in shares)
    told = say("batchnorm_momentum", first=first, second=second)
    return _cause(scene, "batchnorm_momentum", told, first, second)


def batchnorm_variance(scene: Scene) -> Cause | None:
    """The running variance is of n - 1 on one side, of n on the other."""
    found = _moved(scene)
    if found is None:
        return None
    factors, count = found[1], found[2]
    names = []
    for factor in factors:
        gaps = {"n": abs(factor - 1), "n - 1": abs(factor - count / (count - 1))}
        best = min(gaps, key=lambda name: gaps[name])
        if gaps[best] > 0.3 / (count - 1):
            return None
        names.append(best)
    if names[0] == names[1]:
        return None
    told = say("batchnorm_variance", count=count, first=names[0], second=names[1])
    return _cause(scene, "batchnorm_variance", told, *names)


def _moved(scene: Scene) -> tuple[list[float], list[float], int] | None:
    """Of either side, by which share the mean moved, and the factor on the variance; and n."""
    module, work = scene.finding.module, scene.work
    modules = (module, work.modules.get(module, module))
    names = [f"{module}.running_mean", f"{module}.running_var"]
    if any(name not in work.state[0] for name in names):
        return None
    seconds = {pair.first: pair.second for pair in work.pairs}
    mean0, var0 = (_start(scene, name) for name in names)
    shares, factors = [], []
    x = np.zeros((1, 1))
    for index, answer in enumerate(scene.answers):
        call = next((c for c in answer["calls"] if c["module"] == modules[index]), None)
        if call is None:
            return None
        x = work.store.get(leaves(call["inputs"])[0][1]["array"]).astype(np.float64)
        axes = (0, *range(2, x.ndim))
        mean1, var1 = (
            work.store.get(answer["state"][seconds[name] if index else name]) for name in names
        )
        share = _ratio(mean1 - mean0, x.mean(axes) - mean0)
        if not share or x.size == x.shape[1]:
            return None
        shares.append(share)
        factors.append(_ratio((var1 - var0) / share + var0, x.var(axes)))
    return shares, factors, x.size // x.shape[1]


def _start(scene: Scene, name: str) -> Any:
    return scene.work.store.get(scene.work.state[0][name]["array"]).astype(np.float64)


def _ratio(found: Array, expected: Array) -> float:
    """The factor between two arrays; 0 where there is not one for all."""
    square = float((expected * expected).sum())
    ratio = float((found * expected).sum()) / square if square > 0 else 0.0
    return ratio if rms(found - ratio * expected) <= _ONE_FACTOR * rms(found) else 0.0


def _cause(scene: Scene, name: str, told: str, first: str, second: str) -> Cause:
    side = scene.work.second.name
    return Cause(name, side, told, {"first": first, "second": second, "side": side})
