"""Causes that the losses tell, with how far the weights went."""

from __future__ import annotations

import math

import numpy as np

from jittor_ddim.diagnosis.evidence import Evidence, distance
from jittor_ddim.diagnosis.findings import Finding, Value
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.learning_rate import lr_at

#: Of the loss of a constant answer, above which a network has learnt nothing. Healthy runs are
#: below 0.4 after 20 steps; lr 1 (Adam) stays at 1.02, lr 1e-7 at 1.06, lr 1e-5 at 0.62.
_NOTHING = 0.9
#: Of the start's size, how far weights go. Healthy: 0.19 after 12 steps, 0.6 after 300, 3.0 after
#: 4,000; lr 1e-5: 0.022, lr 1e-7: 0.0003, lr 1: 127.
_HARDLY, _USUAL, _FAR = 0.05, 0.6, 10.0
#: Of the start's size, what Adam may change in one step. Healthy: 0.01 to 0.04; lr 1: 14.
_STRIDE = 0.3
#: How much the loss or the gradient's norm grows in a run that leaves the finite numbers. Healthy
#: losses never grew 2.7-fold over the median of the 25 steps before, SGD at lr 0.1 100-fold.
_BURST = 10.0
_SPIKE, _BEFORE, _SETTLED = 4.0, 25, 50
#: Samples of less are blurs. Of the best linear predictor's loss: CIFAR-10 0.9 after 400 steps
#: of 64, 0.8 after 1,000, 0.69 after 8,310 (recognisable); digits 0.8 after 500, 0.72 after 2,000
#: (60 % can be read), 0.6 after 4,000.
_ENOUGH = 0.8
#: Fewer steps do not tell that a loss has stopped falling, as it differs so much from step to step.
_LONG = 1000
_FURTHEST = 10.0  # times the steps so far; no law is to be trusted beyond


def diverged(evidence: Evidence) -> Finding | None:
    """The learning rate is so large that the loss grows, or the run ended in one."""
    losses, optim = evidence.losses, evidence.config.optim
    if not len(losses):
        return None
    first, last = float(losses[0]), evidence.level()
    norms = evidence.column("grad_norm")
    burst = max(_growth(losses), _growth(norms))
    far = evidence.moved > _FAR
    unfinished = evidence.checkpoint is None and evidence.steps < evidence.planned
    stride = _stride(evidence)
    learnt_nothing = not last < _NOTHING * evidence.constant_loss
    if not (learnt_nothing and (far or burst > _BURST or unfinished and stride > _STRIDE)):
        return None
    values: dict[str, Value] = {
        "lr": optim.lr,
        "first": first,
        "last": last,
        "burst": _short(burst),
        "step": evidence.steps,
        "constant": evidence.constant_loss,
        "moved": _short(evidence.moved),
        "optimizer": optim.optimizer,
        "stride": _short(stride or math.nan),
        # A hundredth of the start's size a step is what Adam's default does to a wide network.
        "try": _rounded(min(optim.lr / 10, optim.lr * 0.01 / stride if stride else optim.lr / 10)),
    }
    return Finding("diverged", "ruins", values)


def hardly_moved(evidence: Evidence) -> Finding | None:
    """The learning rate is so small that the weights are still where they began."""
    optim, moved = evidence.config.optim, evidence.moved
    if not moved < _HARDLY or evidence.steps < _BEFORE:
        return None
    if not evidence.level() > evidence.linear_loss and not math.isnan(evidence.linear_loss):
        return None
    if warming_up(evidence) or stifled(evidence) or clipped(evidence):
        return None
    better = optim.lr * _USUAL / moved if moved else math.inf
    values: dict[str, Value] = {
        "moved": moved,
        "steps": evidence.steps,
        "lr": optim.lr,
        "last": evidence.level(),
        "try": _rounded(min(better, 1e-3)) if optim.optimizer == "Adam" else _rounded(better),
    }
    return Finding("hardly_moved", "ruins", values)


def warming_up(evidence: Evidence) -> Finding | None:
    """All steps so far were in a warm-up that is long for them."""
    warmup, steps = evidence.config.optim.warmup_steps, evidence.steps
    if not steps or steps >= warmup or not evidence.level() > _ENOUGH * _wanted(evidence):
        return None
    now = lr_at(evidence.config.optim, steps, evidence.planned)
    values: dict[str, Value] = {
        "steps": steps,
        "warmup": warmup,
        "now": now,
        "lr": evidence.config.optim.lr,
        "try": max(1, min(warmup // 10, evidence.planned // 20)),
    }
    return Finding("warming_up", "ruins", values)


def clipped(evidence: Evidence) -> Finding | None:
    """Plain SGD whose gradients are clipped at every step, which shortens every step.

    Adam and RMSProp divide by the gradients' size, so that the limit hardly matters: a healthy run
    on CIFAR-10 had a median norm of 320 and a limit of 1.
    """
    optim, norms = evidence.config.optim, evidence.column("grad_norm")
    if optim.optimizer != "SGD" or optim.grad_clip is None or not len(norms):
        return None
    share, norm = float((norms > optim.grad_clip).mean()), float(np.nanmedian(norms))
    if share < _NOTHING or not evidence.level() > evidence.linear_loss:
        return None
    values: dict[str, Value] = {
        "share": share,
        "limit": optim.grad_clip,
        "norm": norm,
        "factor": norm / optim.grad_clip,
    }
    return Finding("clipped", "ruins", values)


def stifled(evidence: Evidence) -> Finding | None:
    """Gradients are as small as the epsilon beside which Adam or RMSProp divides by them."""
    checkpoint, optim = evidence.checkpoint, evidence.config.optim
    kind = {"Adam": "exp_avg_sq/", "RMSProp": "square_avg/"}.get(optim.optimizer)
    if checkpoint is None or kind is None:
        return None
    squares = [a.ravel() for n, a in checkpoint.optimizer.items() if n.startswith(kind)]
    if not squares:
        return None
    # Adam corrects its young average of squares, by its fixed beta2; RMSProp does not.
    young = 1 - (0.999 if optim.optimizer == "Adam" else 0.0) ** max(1, checkpoint.step)
    size = float(np.median(np.sqrt(np.concatenate(squares).astype(np.float64) / young)))
    left = size / (size + optim.eps)
    if left > 0.5:  # healthy: 0.996 to 0.9999; a limit of 1e-7 for the gradients: 0.007
        return None
    norm = float(np.nanmedian(evidence.column("grad_norm"))) if evidence.steps else math.nan
    clip = optim.grad_clip
    tight = clip is not None and clip < norm
    values: dict[str, Value] = {
        "size": size,
        "eps": optim.eps,
        "left": left,
        "key": "optim.grad_clip" if tight else "optim.eps",
        "value": float(clip) if tight and clip is not None else optim.eps,
        "try": 1.0 if tight else 1e-8,
        "norm": norm,
    }
    return Finding("stifled", "ruins" if left < 0.1 else "harms", values)


def spikes(evidence: Evidence) -> Finding | None:
    """The loss jumps, again and again, and comes back."""
    losses = evidence.losses
    if len(losses) < _SETTLED + _BEFORE or diverged(evidence):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(losses, _BEFORE)[:-1]
    ratio = losses[_BEFORE:] / np.median(windows, axis=1)
    ratio = np.nan_to_num(ratio[_SETTLED - _BEFORE :], nan=np.inf)
    found = np.flatnonzero(ratio > _SPIKE)
    if len(found) < 3:  # healthy: none in 8,310 steps of 64, where the largest ratio was 1.94
        return None
    steps = evidence.column("step")[found + _SETTLED]
    values: dict[str, Value] = {
        "count": len(found),
        "largest": float(ratio.max()),
        "last": int(steps[-1]),
        "steps": evidence.steps,
        "key": "optim.lr" if evidence.config.optim.grad_clip else "optim.grad_clip",
        "try": _rounded(evidence.config.optim.lr / 2) if evidence.config.optim.grad_clip else 1.0,
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
    # Healthy: never above 1.06 (89 held-out digits, 4,000 steps).
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
    if not level > _ENOUGH * linear:
        return None
    more = _estimate(evidence, _ENOUGH * linear)
    if math.isinf(more) and evidence.steps >= _LONG:
        return None
    more = min(max(more, 1.5 * evidence.steps), _FURTHEST * evidence.steps)
    seconds = float(np.nanmedian(evidence.column("step_time_s")))
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "level": level,
        "linear": linear,
        "ratio": level / linear,
        "estimate": int(_rounded(more)),
        "time": _clock((more - evidence.steps) * seconds),
        "planned": evidence.planned,
    }
    return Finding("too_few_steps", "ruins" if level > linear else "harms", values)


def stalled(evidence: Evidence) -> Finding | None:
    """The loss has stopped falling where a linear filter's is."""
    level, linear = evidence.level(), evidence.linear_loss
    if not level > _ENOUGH * linear or evidence.steps < _LONG:
        return None
    if math.isfinite(_estimate(evidence, _ENOUGH * linear)):
        return None
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "level": level,
        "linear": linear,
        "ratio": level / linear,
        "lr": evidence.config.optim.lr,
        "try": _rounded(evidence.config.optim.lr / 3),
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


def _growth(series: np.ndarray) -> float:
    """The largest value after the first, in units of the first ten's median."""
    if len(series) < 2:
        return 1.0
    with np.errstate(invalid="ignore"):
        largest = float(np.max(np.nan_to_num(series[1:], nan=np.inf)))
    start = float(np.nanmedian(series[: min(10, max(1, len(series) // 2))]))
    return largest / start if start else 1.0


def _stride(evidence: Evidence) -> float:
    """What Adam changes in its first steps, in units of the fresh weights' size; else 0."""
    config = evidence.config
    if config.optim.optimizer == "SGD":
        return 0.0
    size = distance(evidence.start or fresh_weights(config), None)
    return config.optim.lr / size


def _wanted(evidence: Evidence) -> float:
    linear = evidence.linear_loss
    return evidence.constant_loss if math.isnan(linear) else linear


def _estimate(evidence: Evidence, target: float) -> float:
    """At which step a power law comes to a loss; inf if the loss does not fall.

    Fitted to the last two thirds of the steps. Of four healthy runs cut off after 200, 300, 600 or
    1,000 steps it found 0.35 to 1.6 times the steps that they went on to need, half of the time
    0.6 to 1.2 times; with the earlier steps it found fewer.
    """
    steps, losses = evidence.column("step"), evidence.losses
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
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _short(value: float) -> Value:
    """A factor in few digits; a question mark if it is unknown."""
    if not math.isfinite(value):
        return "?"
    return round(value) if value >= 100 else _rounded(value)


def _rounded(value: float) -> float:
    """Two digits, as a person would write them."""
    return float(f"{value:.2g}") if math.isfinite(value) else value
