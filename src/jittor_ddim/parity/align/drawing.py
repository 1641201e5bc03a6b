"""Modules that draw random numbers in training: which they are, and whether both draw alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jittor_ddim.parity.align import locate
from jittor_ddim.parity.align.measures import Array, kept
from jittor_ddim.parity.align.pairing import pair_calls
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import leaves

#: How far apart the scales of what dropout keeps may be; what it zeroes, in standard errors.
_SCALES, _ERRORS = 1e-3, 6.0


def find_drawing(work: Work) -> set[str]:
    """Return the first side's modules that draw in training, and keep all of them still."""
    random: list[list[str]] = []
    for index, side in enumerate(work.sides):
        one, two = (side.call("forward", train=True, seed=seed, still=[]) for seed in (1, 2))
        if one["loss"] == two["loss"]:
            random.append([])
            continue
        calls = locate.random_modules(work, index, one["calls"], True)
        random.append(list(dict.fromkeys(call["module"] for call in calls)))
    backwards = {other: one for one, other in work.modules.items()}
    union = set(random[0]) | {backwards[n] for n in random[1] if n in backwards}
    extra = [name for name in random[1] if name not in backwards]
    work.still = (
        sorted(union),
        sorted({work.modules[n] for n in union if n in work.modules} | set(extra)),
    )
    return union


def compare_drawing(work: Work, names: set[str]) -> tuple[locate.Departure | None, list[str]]:
    """Compare what modules that draw zero and how they scale the rest.

    :return: the first that departs, and those that cannot be compared, for they call others
    """
    inside: list[str] = []
    answers = [side.call("forward", train=True, seed=0, still=[]) for side in work.sides]
    ours, theirs = (answer["calls"] for answer in answers)
    for k, match in pair_calls(ours, theirs, work.modules).items():
        call, other = ours[k], theirs[match]
        if call["module"] not in names:
            continue
        if _has_inner(ours, k) or _has_inner(theirs, match):
            inside.append(call["module"])
            continue
        pairs = [[leaves(one[what]) for what in ("inputs", "outputs")] for one in (call, other)]
        if not all(found for pair in pairs for found in pair):
            continue
        gap = drawn_apart(
            *([work.store.get(found[0][1]["array"]) for found in pair] for pair in pairs)
        )
        if gap > _SCALES:
            given, made = call["inputs"], [call["outputs"], other["outputs"]]
            return locate.Departure(call, other, gap, _SCALES, given, *made), inside
    return None, list(dict.fromkeys(inside))


def drawn_apart(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Return how far two dropouts are apart in what they zero and how they scale; 0 if by chance.

    :param first: what the first side's was given and returned
    """
    (zeroed, scale), (zeroed_there, scale_there) = kept(*first), kept(*second)
    if math.isnan(scale) and math.isnan(scale_there):
        return 0.0
    if math.isnan(scale) or math.isnan(scale_there):  # dropout on one side only
        return math.inf
    share, count = (zeroed + zeroed_there) / 2, max(_draws(*first), _draws(*second))
    chance = _ERRORS * math.sqrt(max(share * (1 - share), 1e-3) * 2 / count)
    apart = abs(zeroed - zeroed_there)
    # What kept nothing has no scale.
    scales = abs(scale / scale_there - 1) if scale and scale_there else 0.0
    return max(scales, apart if apart > chance else 0.0)


def _draws(x: Array, y: Array) -> int:
    """Return how often was drawn: a whole image or channel may be kept or dropped at once."""
    whole, dropped = (x != 0) & (y != 0), (x != 0) & (y == 0)
    varied = [axis for axis in range(x.ndim) if (whole.any(axis) & dropped.any(axis)).any()]
    return math.prod(x.shape[axis] for axis in varied)


def _has_inner(calls: list[Any], k: int) -> bool:
    return any(call["parent"] == k for call in calls)
