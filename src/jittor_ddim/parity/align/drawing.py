"""Modules that draw random numbers in training: which they are, and whether both draw alike."""

from __future__ import annotations

import math
from typing import Any

from jittor_ddim.parity.align import locate
from jittor_ddim.parity.align.measures import kept
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
        (zeroed, scale), (zeroed_there, scale_there) = (
            kept(*(work.store.get(found[0][1]["array"]) for found in pair)) for pair in pairs
        )
        count = math.prod(pairs[0][0][0][1]["shape"])
        chance = _ERRORS * math.sqrt(max(zeroed * (1 - zeroed), 1e-3) * 2 / count)
        apart = abs(zeroed - zeroed_there)
        gap = max(abs(scale / scale_there - 1), apart if apart > chance else 0.0)
        if math.isnan(scale) != math.isnan(scale_there):  # dropout on one side only
            gap = math.inf
        if gap > _SCALES:
            given, made = call["inputs"], [call["outputs"], other["outputs"]]
            return locate.Departure(call, other, gap, _SCALES, given, *made), inside
    return None, list(dict.fromkeys(inside))


def _has_inner(calls: list[Any], k: int) -> bool:
    return any(call["parent"] == k for call in calls)
