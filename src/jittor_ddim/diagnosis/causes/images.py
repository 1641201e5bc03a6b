"""Causes that the training images tell."""

from __future__ import annotations

import re

import numpy as np

from jittor_ddim.data.loader import steps_per_epoch
from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import Finding, Value

#: Steps on either side of a place where the run was resumed.
_AROUND = 50
#: Of 255, and a little more for resizing.
_HALF = 130


def constant_images(evidence: Evidence) -> Finding | None:
    """All images are the same, or nearly."""
    sample = evidence.sample
    # Healthy: 0.52 (digits), 0.94 (sprites), 0.98 (CIFAR-10); one picture with noise of +-15 of
    # 255: 0.008.
    if sample is None or len(sample.pixels) < 2 or sample.variety > 0.02:
        return None
    values: dict[str, Value] = {
        "images": len(sample.pixels),
        "variety": sample.variety,
        "root": _place(evidence),
    }
    return Finding("constant_images", "ruins", values)


def repeated_images(evidence: Evidence) -> Finding | None:
    """The same images are in the set again and again, to the bit or nearly."""
    sample = evidence.sample
    if sample is None or constant_images(evidence):
        return None
    # Healthy: 1.00 on the digits, CIFAR-10 and game tiles.
    repeats = max(sample.repeats, sample.near_repeats)
    if repeats < 1.5:
        return None
    values: dict[str, Value] = {
        "repeats": repeats,
        "count": sample.total,
        "distinct": round(sample.total / repeats),
        "root": _place(evidence),
    }
    return Finding("repeated_images", "harms", values)


def dark_images(evidence: Evidence) -> Finding | None:
    """Pixels lie in 0 … 1 of 255: they were scaled to 0 … 1 before they were stored."""
    sample = evidence.sample
    if sample is None:
        return None
    brightest = int(np.percentile(sample.pixels, 99.9))
    if brightest > 2:  # healthy: 255
        return None
    mean = float(sample.x0.mean())
    values: dict[str, Value] = {"brightest": brightest, "mean": mean, "root": _place(evidence)}
    return Finding("dark_images", "ruins", values)


def flat_images(evidence: Evidence) -> Finding | None:
    """Pixels use half of their range or less, so that noise of size 1 drowns them."""
    sample = evidence.sample
    if sample is None or dark_images(evidence) or constant_images(evidence):
        return None
    low, high = np.percentile(sample.pixels, [0.1, 99.9])
    # With half of the range images are half as strong beside the noise as they could be. Healthy:
    # 255 of 255, and deviations of 0.5 to 0.8 of the network's input; 0 … 127 leaves 0.37.
    if high - low > _HALF:
        return None
    values: dict[str, Value] = {
        "low": int(low),
        "high": int(high),
        "deviation": float(sample.x0.std()),
        "root": _place(evidence),
    }
    return Finding("flat_images", "harms", values)


def not_centred(evidence: Evidence) -> Finding | None:
    """The network's input lies in 0 … 1, not in -1 … 1."""
    sample, data = evidence.sample, evidence.config.data
    if data.rescaled or data.logit_transform:
        return None
    values: dict[str, Value] = {
        "mean": float(sample.x0.mean()) if sample else 0.5,
        "deviation": float(sample.x0.std()) if sample else 0.25,
    }
    return Finding("not_centred", "harms", values)


def other_images(evidence: Evidence) -> Finding | None:
    """The run was resumed with other images than before, or they have changed since."""
    for seen in (_named_in_log(evidence), _count_changed(evidence), _level_changed(evidence)):
        if seen:
            return Finding("other_images", "harms", seen)
    return None


def _named_in_log(evidence: Evidence) -> dict[str, Value] | None:
    """A warning of the run itself that another data set was configured."""
    for line in evidence.log:
        found = re.search(
            r"Resuming with another config: (data\.(?:dataset|root|category) .*)", line
        )
        if found:
            return {"seen": found[1]}
    return None


def _count_changed(evidence: Evidence) -> dict[str, Value] | None:
    """Epochs that cannot all be of one number of images.

    Step s of epoch e of N images in batches of B has e < s B / N + B / N <= e + 1, to a batch.
    """
    steps, epochs = evidence.column("step"), evidence.column("epoch")
    rate, step_time = evidence.column("images_per_s"), evidence.column("step_time_s")
    if not len(steps) or not all(map(len, (epochs, rate, step_time))):
        return None
    sizes = np.round(rate * (step_time + evidence.column("data_time_s")))
    if np.ptp(sizes) > 0:  # another batch size makes other epochs of the same images
        return None
    batch = evidence.config.training.batch_size
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.where(epochs > 0, (steps - 1) / epochs, np.inf) * batch
    least = (steps / (epochs + 1) - 1) * batch
    clash = np.maximum.accumulate(least) > np.minimum.accumulate(most)
    if clash.any():
        at = int(np.argmax(clash))
        before = slice(0, at)
        return {
            "seen": f"step {int(steps[at])}: epoch {int(epochs[at])}; "
            f"N <= {np.min(most[before], initial=np.inf):,.0f} -> {_around(least[at], most[at])}"
        }
    if evidence.sample is None or epochs[-1] < 2:
        return None
    now = steps_per_epoch(evidence.sample.count, batch) * batch
    if 0.99 * least.max() <= now <= 1.01 * most.min() + batch:
        return None
    told = _around(least.max(), most.min())
    return {"seen": f"{told} -> N = {evidence.sample.count:,}"}


def _around(least: float, most: float) -> str:
    return f"{least:,.0f} <= N <= {most:,.0f}"


def _level_changed(evidence: Evidence) -> dict[str, Value] | None:
    """The loss jumps where the run was resumed, and stays there."""
    losses, steps = evidence.losses, evidence.column("step")
    for resumed in evidence.resumed_at:
        at = int(np.searchsorted(steps, resumed, side="right"))
        before, after = losses[max(0, at - _AROUND) : at], losses[at : at + _AROUND]
        if min(len(before), len(after)) < _AROUND:
            continue
        ratio = float(np.median(after) / np.median(before))
        if not np.isfinite(ratio):  # a loss that is NaN is another cause's
            continue
        # Healthy: 1.00 and 0.99 where a run on CIFAR-10 was resumed at steps 2,355 and 5,070.
        if not 2 / 3 < ratio < 1.5:
            return {
                "seen": f"step {resumed}: loss {np.median(before):.4f} -> {np.median(after):.4f}"
            }
    return None


def _place(evidence: Evidence) -> str:
    return evidence.config.data.root or evidence.config.data.dataset
