"""Causes that losses which are not finite tell."""

from __future__ import annotations

import numpy as np

from jittor_ddim.diagnosis.causes.rates import diverged
from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import Finding, Value


def nan_from_start(evidence: Evidence) -> Finding | None:
    """The first loss is not finite, which is calculated before the learning rate matters."""
    if not len(evidence.losses) or np.isfinite(evidence.losses[0]):
        return None
    return Finding("nan_from_start", "ruins", _seen(evidence))


def nan_steps(evidence: Evidence) -> Finding | None:
    """Some losses are not finite, and the run went on."""
    if np.isfinite(evidence.losses).all() or nan_from_start(evidence) or diverged(evidence):
        return None
    return Finding("nan_steps", "harms", _seen(evidence))


def _seen(evidence: Evidence) -> dict[str, Value]:
    wrong = np.flatnonzero(~np.isfinite(evidence.losses))
    return {
        "count": len(wrong),
        "all": len(evidence.losses),
        "first": int(evidence.column("step")[wrong[0]]),
    }
