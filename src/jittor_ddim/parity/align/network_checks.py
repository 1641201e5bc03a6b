"""The checks of a network: parameters, batches, and every module's output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jittor_ddim.errors import UserError
from jittor_ddim.parity.align import locate
from jittor_ddim.parity.align.drawing import compare_drawing, find_drawing
from jittor_ddim.parity.align.measures import distance, rms, tree_distance, wide
from jittor_ddim.parity.align.memory import check_memory
from jittor_ddim.parity.align.pairing import (
    Pair,
    pair_modules,
    pair_parameters,
    shape,
)
from jittor_ddim.parity.align.phrases import Said, say
from jittor_ddim.parity.align.results import Finding
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import leaves

#: Standard deviations of fresh weights must agree within this share, or six standard errors.
_SPREAD, _ERRORS = 0.05, 6.0
#: How far the kurtosis of one distribution may be apart: it is 1.8 of uniform numbers and 3 of
#: normal ones, with a standard error of sqrt(24 / n), so below 1,200 numbers it tells nothing.
_KURTOSIS = 0.6
_MOST_NAMES = 8
#: What moves by less than this share of a buffer is rounding.
_CANCELLED = 1e-3


def check_parameters(work: Work) -> None:
    """Build both sides, pair what they consist of, and start both from the first's weights.

    Adds the checks ``parameters`` and ``initialisation``.

    :raises UserError: if the sides have no parameter in common, or memory cannot hold them
    """
    ours = work.first.call("build")
    check_memory(work.first.name, sum(math.prod(one["shape"]) for one in ours["state"]))
    drawn = work.second.call("build")
    theirs = work.second.call("build", weights=ours["weights"])
    renamed = ours["renamed"], theirs["renamed"]
    pairing = pair_parameters(ours["state"], theirs["state"], renamed)
    if not pairing.pairs:
        raise UserError(
            f"{work.first.name} and {work.second.name} have no parameter of one name or shape in "
            "common; say with rename(name) which is which"
        )
    work.pairs = pairing.pairs
    work.state = [{one["name"]: one for one in built["state"]} for built in (ours, theirs)]
    work.trainable = [one["name"] for one in ours["state"] if one["trainable"]]
    work.modules = pair_modules(work.pairs, ours["modules"], theirs["modules"])
    for side, built in zip(work.result.sides, (ours, theirs), strict=True):
        side.parameters = sum(
            math.prod(one["shape"]) for one in built["state"] if one["trainable"]
        )
    notes = [
        _left_over(side.name, names, counted=theirs["read"])
        for side, names in zip(work.sides, (pairing.left, pairing.right), strict=True)
        if names
    ]
    keys = {one["name"]: one["array"] for one in ours["state"]}
    if theirs["read"]:
        notes.append(say("set_itself", side=work.second.name))
        worst, where = _loaded_gap(work, keys, theirs["state"])
    else:
        load = {p.second: _key(work, p, keys[p.first]) for p in work.pairs}
        work.second.call("load", weights=load)
        for name, key in load.items():
            work.state[1][name]["array"] = key
        # Constants that only one side keeps show in what its modules compute.
        trained = [
            name
            for names, own in zip((pairing.left, pairing.right), work.state, strict=True)
            for name in names
            if own[name]["trainable"]
        ]
        worst, where = float(len(trained)), ""
    check = work.note("parameters", worst, 0.0, len(work.pairs), where, notes)
    if check.status == "departs":
        work.find(Finding("parameters", where=where or notes[0]))
    _check_initialisation(work, ours["state"], drawn["state"])


def _left_over(side: str, names: dict[str, list[str]], counted: bool) -> str:
    """Tell which parameters only one side has, or how many where the other set them itself."""
    if counted:
        return say("only", side=side, names=len(names))
    shown = list(names.items())[:_MOST_NAMES]
    told = [f"{name} (≈ {', '.join(near)})" if near else name for name, near in shown]
    rest = [f"+ {len(names) - len(shown)}"] if len(names) > len(shown) else []
    return say("only", side=side, names="; ".join([*told, *rest]))


def _key(work: Work, pair: Pair, key: str) -> str:
    return work.store.put(work.store.get(key).T) if pair.transposed else key


def _loaded_gap(
    work: Work, ours: dict[str, str], theirs: list[dict[str, Any]]
) -> tuple[float, str]:
    """How far the weights are that the second side set itself."""
    keys = {one["name"]: one["array"] for one in theirs}
    gaps = []
    for pair in work.pairs:
        first, second = work.store.get(ours[pair.first]), work.store.get(keys[pair.second])
        # Another layout of the same numbers is the side's own affair.
        gaps.append((distance(np.sort(first, None), np.sort(second, None)), pair.first))
    worst, where = max(gaps)
    return worst, where if worst else ""


def _check_initialisation(
    work: Work, ours: list[dict[str, Any]], drawn: list[dict[str, Any]]
) -> None:
    """Compare what either side draws by itself: spread, and the shape of the distribution."""
    first = {one["name"]: one["array"] for one in ours}
    second = {one["name"]: one["array"] for one in drawn}
    worst, where, numbers = 0.0, "", say("spread", first=0, second=0)
    compared = [pair for pair in work.pairs if pair.first in work.trainable]
    for pair in compared:
        one, other = (
            wide(work.store.get(key)).reshape(-1).view(np.float64)  # of complex ones, both parts
            for key in (first[pair.first], second[pair.second])
        )
        gap, told = _drawn_apart(one, other)
        if gap > worst:
            worst, where, numbers = gap, pair.first, told
    check = work.note("initialisation", worst, 1.0, len(compared), where)
    if check.status == "departs":
        module = where.rpartition(".")[0]
        work.find(Finding("initialisation", module, where=where, raw=[numbers]))


def _drawn_apart(one: Any, other: Any) -> tuple[float, Said]:
    """How far two draws are from one distribution; above 1 they are not of one."""
    ours, theirs = float(one.std()), float(other.std())
    told = say("spread", first=f"{ours:.3g}", second=f"{theirs:.3g}")
    if min(ours, theirs) == 0.0 or one.size < 2:  # constants
        means = f"{one.mean():.3g}", f"{other.mean():.3g}"
        only_one = min(ours, theirs) == 0 < max(ours, theirs)
        apart = only_one or (rms(one - other) > 1e-6 and max(ours, theirs) < 1e-12)
        told = say("constant", first=means[0], second=means[1], spread=told)
        return math.inf if apart else 0.0, told
    allowed = max(_SPREAD, _ERRORS / math.sqrt(one.size))
    gap = abs(math.log(theirs / ours)) / allowed
    shapes = [float((((a - a.mean()) / a.std()) ** 4).mean()) for a in (one, other)]
    chance = _ERRORS * math.sqrt(2 * 24 / one.size)
    if abs(shapes[0] - shapes[1]) > max(_KURTOSIS, chance):
        kinds = [say("uniform" if k < 2.2 else "normal" if k < 3.6 else "heavy") for k in shapes]
        gap, told = max(gap, 2.0), say("kinds", spread=told, first=kinds[0], second=kinds[1])
    return gap, told


def check_batches(work: Work, batches: list[list[Any]]) -> None:
    """Compare the batches of all steps; if they differ, both sides use the first's from then on.

    :param batches: either side's, described
    """
    ours, theirs = batches
    gaps = [tree_distance(work.store, a, b) for a, b in zip(ours, theirs, strict=True)]
    wrong = [step for step, gap in enumerate(gaps) if gap > 1e-6]
    where = say("step", step=wrong[0]) if wrong else ""
    check = work.note("batch", max(gaps), 1e-6, sum(len(leaves(one)) for one in ours), where)
    if check.status == "departs":
        work.find(
            Finding("batch", where=where, difference=gaps[wrong[0]],
                    raw=[ours[wrong[0]], theirs[wrong[0]]])
        )  # fmt: skip
    if wrong and _layout(ours[0]) == _layout(theirs[0]):
        work.second.call("feed", batches=ours)


def _layout(code: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    return [(place, shape(array)) for place, array in leaves(code)]


def check_determinism(work: Work) -> None:
    """Let each side compute twice, and find modules that draw random numbers.

    In evaluation mode with two seeds, in training mode with one. Modules that draw in training
    stay in evaluation mode in the checks of loss, gradients and steps.
    """
    worst, where, compared = 0.0, "", 0
    for index, side in enumerate(work.sides):
        for train, seeds in ((False, (0, 1)), (True, (0, 0))):
            one, two = (side.call("forward", train=train, seed=seed, still=[]) for seed in seeds)
            calls = list(zip(one["calls"], two["calls"], strict=False))
            compared += len(calls)
            for a, b in sorted(calls, key=lambda pair: pair[0]["exit"]):
                gap = tree_distance(work.store, a["outputs"], b["outputs"])
                # What it is given must be the same, or it is what comes before that differs.
                same = tree_distance(work.store, a["inputs"], b["inputs"]) <= work.bounds.module
                if same and gap > work.bounds.module and not where:
                    worst, where = gap, f"{side.name}, {a['module']} ({a['type']})"
                    mode = "training" if train else "evaluation"
                    work.find(
                        Finding("determinism", a["module"], type=a["type"], difference=gap,
                                arguments=[a["arguments"]],
                                where=say(f"in_{mode}", side=side.name),
                                raw=[a, b, index])
                    )  # fmt: skip
    work.note("determinism", worst, work.bounds.module, compared, where)


def check_modules(work: Work, train: bool) -> tuple[locate.Departure | None, list[Any]]:
    """Compare every module's output; return the first departure and both sides' answers."""
    name = "train" if train else "eval"
    skipped: set[str] = set()
    notes = []
    if train:
        skipped = find_drawing(work)
        if skipped:
            notes.append(say("drawing", names=", ".join(sorted(skipped)[:_MOST_NAMES])))
    random, inside = compare_drawing(work, skipped) if skipped else (None, [])
    if inside:
        notes.append(say("drawing_inside", names=", ".join(inside[:_MOST_NAMES])))
    runs, answers = locate.record(work, train)
    departure, worst, where, compared = None, 0.0, "", 0
    if random:
        departure, worst, where = random, random.distance, random.call["module"]
    for one in locate.compare_calls(work, runs, skipped):
        compared += 1
        if one.distance > worst and one.bound == work.bounds.module:
            worst, where = one.distance, one.call["module"]
        if one.distance > one.bound and departure is None:
            departure = one
    end = locate.end_distance(work, runs)
    if departure is None and end is not None and end > work.bounds.whole:
        departure = locate.departs_as_a_whole(work, runs)
        if departure:
            worst, where = departure.distance, departure.call["module"]
    unpaired = len(runs.ours) + len(runs.theirs) - 2 * len(runs.pairs)
    if unpaired:
        notes.append(say("unpaired", count=unpaired))
    whole = sum(runs.ours[k]["module"] not in skipped for k in runs.pairs) - compared
    if whole:
        notes.append(say("laid_out", count=whole))
    if end is not None:
        notes.append(say("end", gap=f"{end:.2g}"))
    if departure:
        worst, where = max(worst, departure.distance), departure.call["module"]
    measured = worst if compared or departure else None
    work.note(name, measured, work.bounds.module, compared, where, notes)
    return departure, answers


def check_buffers(work: Work, answers: list[Any]) -> None:
    """Compare buffers after one pass in training mode; every module that departs is found.

    Not only the first: its cause may be accepted.
    """
    worst, found = 0.0, {}
    names = [pair for pair in work.pairs if pair.first not in work.trainable]
    for pair in names:
        one, other = (
            work.store.get(answer["state"][name])
            for answer, name in zip(answers, (pair.first, pair.second), strict=True)
        )
        start = work.store.get(work.state[0][pair.first]["array"])
        # Against what has moved, or little would be seen of a small momentum.
        moved = [wide(a).reshape(start.shape) - start for a in (one, other)]
        gap = distance(*moved, least=_CANCELLED * rms(start))
        # With the whole network's rounding, not a module's: what comes before has added up.
        if gap > work.bounds.whole:
            found.setdefault(pair.first.rpartition(".")[0], pair.first)
        worst = max(worst, gap)
    where = next(iter(found.values()), "")
    work.note("buffers", worst if names else None, work.bounds.whole, len(names), where)
    for module, name in found.items():
        work.find(Finding("buffers", module, where=name))
