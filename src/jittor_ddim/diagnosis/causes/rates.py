"""Causes in the optimiser's settings, which the weights' way and the losses tell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.diagnosis.evidence import ENOUGH, Evidence
from jittor_ddim.diagnosis.findings import Finding, Value
from jittor_ddim.learning_rate import lr_at

#: Of the loss of a constant answer, above which a network has learnt nothing. Healthy runs are
#: below 0.4 after 20 steps; lr 1 (Adam) stays at 1.02, lr 1e-7 at 1.06, lr 1e-5 at 0.62.
NOTHING = 0.9
#: Of the start's size, how far weights go. Healthy: 0.19 after 12 steps, 0.6 after 300, 3.0 after
#: 4,000; lr 1e-5: 0.022, lr 1e-7: 0.0003, lr 1: 127.
_HARDLY, _USUAL, _FAR = 0.05, 0.6, 10.0
#: Of the start's size, what Adam may change in one step. Healthy: 0.01 to 0.04; lr 1: 14.
_STRIDE = 0.3
#: A step of the whole size undoes what was there. The digits at equal steps: 0.8 costs 9 % of the
#: loss, 1.6 between 30 and 100 % of it, though it still falls.
_LEAP = 1.0
#: Of a constant's loss, above which less was learnt than in the first steps of a healthy run.
_LITTLE = 0.5
#: How much the loss or the gradient's norm grows in a run that leaves the finite numbers. Healthy
#: losses never grew 2.7-fold over the median of the 25 steps before, SGD at lr 0.1 100-fold.
_BURST = 10.0
#: How much lower the loss once was; healthy: at most 1.1.
_LOST = 3.0
#: The first steps, in which nothing can be expected.
_FEW = 25


def diverged(evidence: Evidence) -> Finding | None:
    """The learning rate is so large that the loss grows, or the run ended in one."""
    losses, optim = evidence.losses, evidence.config.optim
    if not len(losses) or not math.isfinite(losses[0]):  # the latter is no rate's fault
        return None
    first, last = float(losses[0]), evidence.level()
    norms = evidence.column("grad_norm")
    burst = max(_growth(losses), _growth(norms))
    far = evidence.moved > _FAR
    unfinished = evidence.checkpoint is None and evidence.steps < evidence.planned
    stride = evidence.stride
    learnt_nothing = not last < NOTHING * evidence.constant_loss
    violent = far or burst > _BURST or unfinished and stride > _STRIDE
    if not (learnt_nothing and violent or _leaps(evidence) or _lost(evidence, last)):
        return None
    values: dict[str, Value] = {
        "lr": optim.lr,
        "first": first,
        "last": last,
        "burst": short(burst),
        "step": evidence.steps,
        "constant": evidence.constant_loss,
        "moved": short(evidence.moved),
        "optimizer": optim.optimizer,
        "stride": short(stride or math.nan),
        # A hundredth of the start's size a step is what Adam's default does to a wide network.
        "try": rounded(min(optim.lr / 10, optim.lr * 0.01 / stride if stride else optim.lr / 10)),
    }
    return Finding("diverged", "ruins", values)


def _leaps(evidence: Evidence) -> bool:
    """Whether steps are so long that the loss, though it falls, stays far too high."""
    if evidence.steps < _FEW or not lacking(evidence):
        return False
    little = evidence.level() > _LITTLE * evidence.constant_loss
    return evidence.stride > (_STRIDE if little else _LEAP)


def hardly_moved(evidence: Evidence) -> Finding | None:
    """The learning rate is so small that the weights are still where they began."""
    optim, moved = evidence.config.optim, evidence.moved
    if not moved < _HARDLY or evidence.steps < _FEW or not lacking(evidence):
        return None
    if warming_up(evidence) or stifled(evidence) or clipped(evidence):
        return None
    better = optim.lr * _USUAL / moved if moved else math.inf
    values: dict[str, Value] = {
        "moved": moved,
        "steps": evidence.steps,
        "lr": optim.lr,
        "last": evidence.level(),
        "try": rounded(min(better, 1e-3)) if optim.optimizer == "Adam" else rounded(better),
    }
    return Finding("hardly_moved", "ruins", values)


def warming_up(evidence: Evidence) -> Finding | None:
    """All steps so far were in a warm-up that is long for them."""
    warmup, steps = evidence.config.optim.warmup_steps, evidence.steps
    if not steps or steps >= warmup or not lacking(evidence):
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
    share, norm = float((norms > optim.grad_clip).mean()), evidence.typical("grad_norm")
    if share < 0.9 or not lacking(evidence):
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
    norm = evidence.typical("grad_norm")
    clip = optim.grad_clip
    tight = clip is not None and clip < norm
    values: dict[str, Value] = {
        "size": size,
        "eps": optim.eps,
        "left": left,
        "key": "optim.grad_clip" if tight else "optim.eps",
        "value": float(clip) if tight and clip is not None else optim.eps,
        "try": 1.0 if tight else 1e-8,
        "norm": short(norm),
    }
    return Finding("stifled", "ruins" if left < 0.1 else "harms", values)


def _growth(series: NDArray[np.float64]) -> float:
    """The largest value after the first, in units of the first ten's median."""
    if len(series) < 2:
        return 1.0
    with np.errstate(invalid="ignore"):
        largest = float(np.max(np.nan_to_num(series[1:], nan=np.inf)))
    begun = series[: min(10, max(1, len(series) // 2))]
    begun = begun[np.isfinite(begun)]
    start = float(np.median(begun)) if len(begun) else 0.0
    return largest / start if start else 1.0


def _lost(evidence: Evidence, last: float) -> bool:
    """Whether the loss was far lower before, of the same images."""
    ends = range(_FEW, len(evidence.losses), max(1, len(evidence.losses) // 20))
    levels = (evidence.level(end) for end in ends)
    best = min((level for level in levels if math.isfinite(level)), default=math.inf)
    return not evidence.resumed_at and last > _LOST * best


def lacking(evidence: Evidence) -> bool:
    """Whether the loss is above what shapes need; without images, above half of a constant's."""
    linear = evidence.linear_loss
    wanted = 0.5 * evidence.constant_loss if math.isnan(linear) else ENOUGH * linear
    return wanted > 0 and evidence.level() > wanted


def short(value: float) -> Value:
    """A factor in few digits; a question mark if it is unknown."""
    if not math.isfinite(value):
        return "?"
    return round(value) if value >= 100 else rounded(value)


def rounded(value: float) -> float:
    """Two digits, as a person would write them."""
    return float(f"{value:.2g}") if math.isfinite(value) else value
