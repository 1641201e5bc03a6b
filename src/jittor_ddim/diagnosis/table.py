"""The table of causes, the most telling first; the texts of each are in ``languages/``."""

from __future__ import annotations

from collections.abc import Callable

from jittor_ddim.diagnosis.causes import average, course, finite, images, rates, setup, weights
from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import GRADES, Finding

CAUSES: tuple[Callable[[Evidence], Finding | None], ...] = (
    weights.not_finite,
    weights.damaged,
    finite.nan_from_start,
    rates.diverged,
    finite.nan_steps,
    images.dark_images,
    images.constant_images,
    weights.dead_layer,
    average.stuck_average,
    average.foreign_average,
    weights.shrunk,
    weights.foreign_weights,
    rates.stifled,
    rates.clipped,
    rates.warming_up,
    rates.hardly_moved,
    course.nothing_learnt,
    average.young_average,
    weights.other_config,
    weights.old_weights,
    weights.unsaved_steps,
    setup.signal_left,
    weights.unlearnt_classes,
    setup.one_channel_groups,
    images.other_images,
    images.repeated_images,
    images.flat_images,
    course.overfitting,
    course.spikes,
    course.stalled,
    course.too_few_steps,
    course.mean_unlearnt,
    weights.frozen,
    images.not_centred,
    setup.wasted_timesteps,
    weights.no_unconditional,
    setup.slow_loader,
    setup.long_pauses,
)
NAMES = tuple(cause.__name__ for cause in CAUSES)

#: What follows from others: too little learnt, a loss that jumps.
_FOLLOWING = ("nothing_learnt", "spikes", "stalled", "too_few_steps", "mean_unlearnt", "frozen")
_EXPLAINING = (
    "diverged",
    "dark_images",
    "constant_images",
    "dead_layer",
    "shrunk",
    "stifled",
    "clipped",
    "warming_up",
    "hardly_moved",
    "foreign_weights",
    "repeated_images",
    "flat_images",
)


def find_causes(evidence: Evidence) -> list[Finding]:
    """Return what explains a run's samples and losses, the most likely first.

    :raises UserError: if a file of the run is damaged in a way that hides what it holds
    """
    found = [finding for cause in CAUSES if (finding := cause(evidence))]
    explained = any(finding.cause in _EXPLAINING for finding in found)
    kept = [one for one in found if not (explained and one.cause in _FOLLOWING)]
    return sorted(kept, key=lambda finding: GRADES.index(finding.grade))
