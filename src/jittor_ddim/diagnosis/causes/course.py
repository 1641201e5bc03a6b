"""Causes that the course of the losses tells."""

from __future__ import annotations

import math

import numpy as np

from jittor_ddim.diagnosis.causes.rates import NOTHING, diverged, lacking, rounded
from jittor_ddim.diagnosis.evidence import ENOUGH, Evidence
from jittor_ddim.diagnosis.findings import Finding, Value

#: Of the median loss of the 25 steps before. Healthy: at most 1.94 in 8,310 steps of 64 images,
#: 2.7 in 300 steps of 16.
_SPIKE, _BEFORE, _SETTLED = 4.0, 25, 50
#: Fewer steps do not tell that a loss, different in every step, has stopped falling.
_LONG = 1000
#: Healthy runs are below 0.4 of a constant's loss after 20 steps.
_MANY = 100
_FURTHEST = 10.0  # times the steps so far; no law is to be trusted beyond
_FEWEST = 500  # no measured run came below the bound before step 561


def spikes(evidence: Evidence) -> Finding | None:
    """The loss jumps, again and again, and comes back."""
    known, losses = evidence.finite_losses  # others are another cause's
    if len(losses) < _SETTLED + _BEFORE or diverged(evidence):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(losses, _BEFORE)[:-1]
    ratio = losses[_BEFORE:] / np.median(windows, axis=1)
    ratio = np.nan_to_num(ratio[_SETTLED - _BEFORE :])  # of losses of 0
    found = np.flatnonzero(ratio > _SPIKE)
    if len(found) < 3:
        return None
    steps = known[found + _SETTLED]
    values: dict[str, Value] = {
        "count": len(found),
        "largest": float(ratio.max()),
        "last": int(steps[-1]),
        "steps": evidence.steps,
        "key": "optim.lr" if evidence.config.optim.grad_clip else "optim.grad_clip",
        "try": rounded(evidence.config.optim.lr / 2) if evidence.config.optim.grad_clip else 1.0,
    }
    return Finding("spikes", "harms", values)


def overfitting(evidence: Evidence) -> Finding | None:
    """The loss on held-out images rises while that on the training images falls."""
    steps, losses = evidence.validations
    if len(losses) < 5:
        return None
    best, last = int(np.argmin(losses)), float(np.median(losses[-3:]))
    rise = last / float(losses[best])
    falls = evidence.level() < evidence.level(int(steps[best]))
    # Healthy: at most 1.06 (89 held-out digits, 4,000 steps); trained on 24 digits: 1.29.
    if rise < 1.15 or not falls:
        return None
    values: dict[str, Value] = {
        "best": float(losses[best]),
        "step": int(steps[best]),
        "last": last,
        "train": evidence.level(),
        "rise": rise - 1,
        "images": evidence.sample.count if evidence.sample else 0,
    }
    return Finding("overfitting", "harms", values)


def too_few_steps(evidence: Evidence) -> Finding | None:
    """The network knows hardly more of the images than a linear filter."""
    level, linear = evidence.level(), evidence.linear_loss
    if not (lacking(evidence) and linear > 0) or nothing_learnt(evidence):  # NaN without images
        return None
    more = _estimate(evidence, ENOUGH * linear)
    if math.isinf(more) and evidence.steps >= _LONG:
        return None
    more = max(min(more, _FURTHEST * evidence.steps), 1.5 * evidence.steps, _FEWEST)
    seconds = evidence.typical("step_time_s")
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "level": level,
        "linear": linear,
        "ratio": level / linear,
        "estimate": int(rounded(more)),
        "time": _clock((more - evidence.steps) * seconds),
        "planned": evidence.planned,
    }
    return Finding("too_few_steps", "ruins" if level > linear else "harms", values)


def nothing_learnt(evidence: Evidence) -> Finding | None:
    """The loss stays at that of a constant answer."""
    level, constant = evidence.level(), evidence.constant_loss
    if evidence.steps < _MANY or not level > NOTHING * constant:
        return None
    if evidence.sample is None and evidence.config.diffusion.prediction != "eps":
        return None  # only with eps is a constant's loss known without the images
    if math.isfinite(_estimate(evidence, NOTHING * constant)):
        return None
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "level": level,
        "constant": constant,
        "lr": evidence.config.optim.lr,
        "try": rounded(evidence.config.optim.lr / 10),
    }
    return Finding("nothing_learnt", "ruins", values)


def stalled(evidence: Evidence) -> Finding | None:
    """The loss has stopped falling where a linear filter's is."""
    level, linear = evidence.level(), evidence.linear_loss
    if not (lacking(evidence) and linear > 0 and evidence.steps >= _LONG):
        return None
    if nothing_learnt(evidence):
        return None
    if math.isfinite(_estimate(evidence, ENOUGH * linear)):
        return None
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "level": level,
        "linear": linear,
        "ratio": level / linear,
        "lr": evidence.config.optim.lr,
        "try": rounded(evidence.config.optim.lr / 3),
        "ch": evidence.config.model.ch,
        "wider": evidence.config.model.ch * 2,
    }
    return Finding("stalled", "ruins" if level > linear else "harms", values)


def mean_unlearnt(evidence: Evidence) -> Finding | None:
    """The network cannot tell how bright an image is (see the design's note on groups)."""
    errors = evidence.column("validation_mean_error")
    errors = errors[np.isfinite(errors)][-3:]
    per_group = evidence.config.model.ch // evidence.config.model.num_groups
    # Of three: one of 128 images varies by a third. CIFAR-10: 0.99 after 2,500 steps, 0.6 after
    # 8,000; digits: 0.1 to 0.3.
    if len(errors) < 3 or np.median(errors) < 0.9 or per_group < 2 or evidence.steps < _LONG:
        return None
    values: dict[str, Value] = {"error": float(np.median(errors)), "steps": evidence.steps}
    return Finding("mean_unlearnt", "harms", values)


def _estimate(evidence: Evidence, target: float) -> float:
    """At which step a power law comes to a loss; inf if the loss does not fall.

    Fitted to the last two thirds of the steps. Of four healthy runs cut off after 200, 300, 600 or
    1,000 steps it found 0.35 to 1.5 times the steps that they went on to need, half of the time
    0.6 to 1.2 times; with the earlier steps it found fewer.
    """
    steps, losses = evidence.finite_losses
    edges = np.unique(np.geomspace(max(1, len(losses) // 3), len(losses), 9).astype(int))
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    if len(parts) < 3:
        return math.inf
    x = np.log([np.median(steps[part]) for part in parts])
    y = np.log([np.median(losses[part]) for part in parts])
    slope, height = np.polyfit(x, y, 1)
    if not slope < -0.02:
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.exp((math.log(target) - height) / slope))


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
