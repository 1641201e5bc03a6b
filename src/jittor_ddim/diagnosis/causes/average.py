"""Causes that the moving average of the weights tells, from which images are sampled."""

from __future__ import annotations

from jittor_ddim.averaging import TOO_MUCH_START, with_rate
from jittor_ddim.diagnosis.causes.rates import diverged, short
from jittor_ddim.diagnosis.causes.weights import foreign_weights, shrunk
from jittor_ddim.diagnosis.evidence import Evidence, cosine, distance
from jittor_ddim.diagnosis.findings import Finding, Value

#: The cosine between the average's way from the start and the weights'. Healthy: 0.989 to 1; the
#: average of a run of the same seed on darker images: 0.37, other seeds and zeros: 0.00.
_ALIKE = 0.5
#: Of the weights' size, the average's. Healthy: 0.94 to 1.
_SIZES = (0.5, 2.0)
#: Of the weights' size, how far the average is from them, below which both draw the same, and of a
#: short way only rounding is left. Healthy: 0.001 to 0.14; foreign ones: 0.7 to 1.2.
_NEAR = 0.2


def young_average(evidence: Evidence) -> Finding | None:
    """The moving average, from which images are sampled, still holds much of the random start."""
    share, checkpoint = evidence.share_of_start, evidence.checkpoint
    if checkpoint is None or share <= TOO_MUCH_START or checkpoint.ema_weights is None:
        return None
    gap = distance(checkpoint.ema_weights, checkpoint.weights)
    values: dict[str, Value] = {
        "share": share,
        "steps": checkpoint.step,
        "rate": with_rate(checkpoint.config).ema_rate,
        "gap": gap / distance(checkpoint.weights, None),
        # With 0.001 of its start left, an average of n steps has the rate 0.001^(1/n).
        "try": float(f"{0.001 ** (1 / max(1, checkpoint.step)):.4g}"),
    }
    return Finding("young_average", "ruins" if share > 0.1 else "harms", values)


def stuck_average(evidence: Evidence) -> Finding | None:
    """The moving average stays at the random start though it should have forgotten it."""
    checkpoint, start = evidence.checkpoint, evidence.start
    if checkpoint is None or start is None or not checkpoint.ema_weights:
        return None
    way = distance(checkpoint.weights, start)
    gone = distance(checkpoint.ema_weights, start) / way if way else 1.0
    # Healthy: 0.83 to 0.97 of the way, where the share of the start was below 1 %.
    if evidence.share_of_start > TOO_MUCH_START or gone > 0.1:
        return None
    values: dict[str, Value] = {
        "gone": gone,
        "share": evidence.share_of_start,
        "steps": checkpoint.step,
    }
    return Finding("stuck_average", "ruins", values)


def foreign_average(evidence: Evidence) -> Finding | None:
    """The moving average is not one of these weights: it lies elsewhere."""
    checkpoint, start = evidence.checkpoint, evidence.start
    if checkpoint is None or not checkpoint.ema_weights or stuck_average(evidence):
        return None
    # Where weights change their size within few steps, an average of many lags far behind.
    if any(cause(evidence) for cause in (diverged, shrunk, foreign_weights)):
        return None
    weights, average = checkpoint.weights, checkpoint.ema_weights
    sizes = distance(average, None), distance(weights, None)
    if not sizes[1]:
        return None  # nothing is left of the weights, which has causes of its own
    size, gap = sizes[0] / sizes[1], distance(average, weights) / sizes[1]
    alike = cosine(average, weights, start) if size else 0.0
    # An average that still holds its start may have any size up to the weights'.
    least = _SIZES[0] if evidence.share_of_start <= TOO_MUCH_START else 0.0
    if gap < _NEAR or not alike < _ALIKE and least < size < _SIZES[1]:
        return None
    values: dict[str, Value] = {
        "alike": short(alike),
        "size": size,
        "gap": gap,
        "steps": checkpoint.step,
    }
    return Finding("foreign_average", "ruins", values)
