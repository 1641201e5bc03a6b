"""Which module departs first, and on how small an input.

Every module of the second side is given what the first side's had as input, and the modules that
it calls return what the first side's returned: so rounding does not add up, and what departs is
the module's own doing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jittor_ddim.parity.align.measures import tree_distance, tree_rms
from jittor_ddim.parity.align.pairing import pair_calls
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.work import Call, Work
from jittor_ddim.parity.align.worker.trees import leaves

#: Outputs this much smaller than their inputs are zero but for rounding.
_CANCELLED = 1e-6


@dataclass
class Departure:
    """A call of a module that departs: all of it, or its code between two calls in it."""

    call: Call  # the first side's
    other: Call  # the second side's, by itself
    distance: float
    bound: float  # what rounding explains
    #: What is known of its own code: what it starts from, and what either side makes of it.
    given: dict[str, Any]
    ours: dict[str, Any]
    theirs: dict[str, Any]
    where: str = ""


@dataclass
class Runs:
    """Both sides' calls in one mode, paired."""

    ours: list[Call]
    theirs: list[Call]
    pairs: dict[int, int]
    train: bool


def record(work: Work, train: bool) -> tuple[Runs, list[dict[str, Any]]]:
    """Let both sides compute a loss, and return their calls, and what else they answered."""
    answers = [
        side.call("forward", train=train, seed=0, still=still)
        for side, still in zip(work.sides, work.still, strict=True)
    ]
    ours, theirs = (answer["calls"] for answer in answers)
    return Runs(ours, theirs, pair_calls(ours, theirs, work.modules), train), answers


def forced(calls: list[Call], k: int, names: dict[int, str]) -> list[dict[str, Any]]:
    """Return what the modules called by call ``k`` return.

    :param names: the modules' names by the number of the call; others are computed
    """
    inner = [n for n, call in enumerate(calls) if call["parent"] == k and n in names]
    return [{"module": names[n], "outputs": calls[n]["outputs"]} for n in inner]


def compare_calls(work: Work, runs: Runs, skipped: set[str]) -> Iterator[Departure]:
    """Yield every paired call with its distance, in the order in which they end.

    A call whose sides are given arrays of other shapes, as where one lays out images in another
    way, cannot be given the other's.

    :param skipped: modules of the first side that draw random numbers
    """
    names = {
        k: runs.theirs[match]["module"]
        for k, match in runs.pairs.items()
        # One that works in place would leave what it was given as it is.
        if not runs.theirs[match].get("altered")
        and not runs.ours[k].get("altered")
        and _alike(runs, k, "outputs")
    }
    order = [
        k
        for k in sorted(runs.pairs, key=lambda k: runs.ours[k]["exit"])
        if runs.ours[k]["module"] not in skipped and _alike(runs, k, "inputs")
    ]
    questions = [
        {
            "module": runs.theirs[runs.pairs[k]]["module"],
            "inputs": runs.ours[k]["inputs"],
            "forced": forced(runs.ours, k, names),
        }
        for k in order
    ]
    answers = work.second.call(
        "replay", calls=questions, train=runs.train, still=work.still[1], seed=0
    )
    for k, answer in zip(order, answers, strict=True):
        if "error" not in answer:
            inner = [n for n, call in enumerate(runs.ours) if call["parent"] == k]
            yield _judge(work, runs, k, answer, all(n in names for n in inner))
        elif _gap(work, runs.ours[k], runs.theirs[runs.pairs[k]], "inputs") <= work.bounds.module:
            # It takes objects of a class of its own, but both sides were given the same.
            yield _own_ways(work, runs, k)


def _gap(work: Work, one: Call, other: Call, what: str, least: float = 0.0) -> float:
    """How far two calls' inputs or outputs are apart."""
    return tree_distance(work.store, one[what], other[what], least, partly=True)


def _own_ways(work: Work, runs: Runs, k: int) -> Departure:
    """Compare a call's outputs where each side went its own way."""
    call, other = runs.ours[k], runs.theirs[runs.pairs[k]]
    parts = call["inputs"], call["outputs"], other["outputs"]
    return Departure(call, other, _gap(work, call, other, "outputs"), work.bounds.whole, *parts)


def _alike(runs: Runs, k: int, what: str) -> bool:
    """Whether a call's inputs or outputs have the same shapes on both sides."""
    ours, theirs = (
        {place: tuple(array["shape"]) or (1,) for place, array in leaves(call[what])}
        for call in (runs.ours[k], runs.theirs[runs.pairs[k]])
    )
    if len(ours) == len(theirs):
        return list(ours.values()) == list(theirs.values())
    shared = ours.keys() & theirs.keys()
    return bool(shared) and all(ours[place] == theirs[place] for place in shared)


def _judge(work: Work, runs: Runs, k: int, answer: dict[str, Any], alone: bool) -> Departure:
    """Compare a call's outputs, and what it gives to the modules that it calls.

    :param alone: only its own code was at work; else the rounding of others adds up in it
    """
    call, other = runs.ours[k], runs.theirs[runs.pairs[k]]
    bound = work.bounds.module if alone else work.bounds.whole
    least = _CANCELLED * tree_rms(work.store, call["inputs"])
    gap = _gap(work, call, answer, "outputs", least)
    parts = call["inputs"], call["outputs"], answer["outputs"]
    found = Departure(call, other, gap, bound, *parts)
    given, last = call["inputs"], None
    for inner, match in _inner_pairs(runs, k, answer["calls"]):
        if match:
            least = _CANCELLED * tree_rms(work.store, given)
            gap = _gap(work, inner, match, "inputs", least)
            if gap > bound:
                where = say("before", module=inner["module"], type=inner["type"])
                parts = given, inner["inputs"], match["inputs"]
                return Departure(call, other, gap, bound, *parts, where)
        given, last = inner["outputs"], inner
    if last and answer["calls"] and found.distance > bound:
        found.given, found.where = given, say("after", module=last["module"], type=last["type"])
    return found


def _inner_pairs(runs: Runs, k: int, theirs: list[Call]) -> Iterator[tuple[Call, Call | None]]:
    """The calls in call ``k``, each with that of the other side's answer."""
    waiting = list(theirs)
    for n, inner in enumerate(runs.ours):
        if inner["parent"] == k:
            name = runs.theirs[runs.pairs[n]]["module"] if n in runs.pairs else None
            match = next((call for call in waiting if call["module"] == name), None)
            if match:
                waiting.remove(match)
            yield inner, match


def departs_as_a_whole(work: Work, runs: Runs) -> Departure | None:
    """Return the first call whose output departs when each side goes its own way."""
    for k in sorted(runs.pairs, key=lambda k: runs.ours[k]["exit"]):
        call, other = runs.ours[k], runs.theirs[runs.pairs[k]]
        found = _own_ways(work, runs, k)
        if found.distance > work.bounds.whole:
            # If what goes in departs already, it is the code that calls it.
            if _gap(work, call, other, "inputs") > work.bounds.whole:
                found.ours, found.theirs = call["inputs"], other["inputs"]
                found.where = say("given")
            return found
    return None


def end_distance(work: Work, runs: Runs) -> float | None:
    """Return how far the outermost outputs are apart when each side goes its own way."""
    gaps = [
        _gap(work, runs.ours[k], runs.theirs[match], "outputs")
        for k, match in runs.pairs.items()
        if runs.ours[k]["parent"] is None
    ]
    return max(gaps, default=None)


def random_modules(work: Work, side: int, calls: list[Call], train: bool) -> list[Call]:
    """Return a side's calls that give another output for the same input and another seed."""
    names = {k: call["module"] for k, call in enumerate(calls)}
    questions = [
        {"module": call["module"], "inputs": call["inputs"], "forced": forced(calls, k, names)}
        for k, call in enumerate(calls)
    ]
    answers = [
        work.sides[side].call(
            "replay", calls=questions, train=train, still=work.still[side], seed=seed
        )
        for seed in (1, 2)
    ]
    found = [
        call
        for call, one, two in zip(calls, *answers, strict=True)
        if "error" not in one
        and "error" not in two
        and tree_distance(work.store, one["outputs"], two["outputs"]) > work.bounds.module
    ]
    return sorted(found, key=lambda call: call["exit"])


def shrink(work: Work, departure: Departure, train: bool) -> list[dict[str, Any]]:
    """Return the inputs of a departing module, as small as they still show it.

    First one example instead of a batch, then half the length of each further axis, again and
    again, as far as both sides take it.
    """
    code = departure.call["inputs"]
    size = max((array["shape"][0] for _, array in leaves(code) if array["shape"]), default=0)
    axes = max((len(array["shape"]) for _, array in leaves(code)), default=0)
    for axis in (0, *range(2, axes)) if axes > 2 else (0,):
        keep = 1 if axis == 0 else None
        while (smaller := _cut(work, code, axis, size, keep)) and _still(
            work, departure, smaller, train
        ):
            code = smaller
            if keep:
                break
    return [array for _, array in leaves(code)]


def _cut(
    work: Work, code: dict[str, Any], axis: int, size: int, keep: int | None
) -> dict[str, Any] | None:
    """Cut all arrays of a batch along an axis; None if there is nothing left to cut."""
    changed = False

    def cut(one: dict[str, Any]) -> dict[str, Any]:
        nonlocal changed
        if "dict" in one:
            return {**one, "dict": {key: cut(value) for key, value in one["dict"].items()}}
        if "tuple" in one:
            return {**one, "tuple": [cut(value) for value in one["tuple"]]}
        shape = one.get("shape", [])
        fits = len(shape) > axis and (shape[0] == size if axis == 0 else len(shape) > 2)
        length = keep or (shape[axis] // 2 if fits else 0)
        if "array" not in one or not fits or not 0 < length < shape[axis]:
            return one
        changed = True
        array = work.store.get(one["array"]).take(range(length), axis=axis)
        return {**one, "array": work.store.put(array), "shape": list(array.shape)}

    smaller = cut(code)
    return smaller if changed else None


def _still(work: Work, departure: Departure, inputs: dict[str, Any], train: bool) -> bool:
    answers = []
    for side, still, call in zip(
        work.sides, work.still, (departure.call, departure.other), strict=True
    ):
        question = {"module": call["module"], "inputs": inputs}
        answers += side.call("replay", calls=[question], train=train, still=still, seed=0)
    if any("error" in answer for answer in answers):
        return False
    gap = _gap(work, answers[0], answers[1], "outputs")
    if departure.bound < gap < math.inf:
        departure.call = {**departure.call, "smallest": inputs}
        return True
    return False
