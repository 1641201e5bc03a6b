"""The checks of training: loss, gradients, one step, N losses, samples, saving and loading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jittor_ddim.parity.align.measures import (
    distance,
    relative,
    rms,
    tree_distance,
    wide,
)
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.results import Finding
from jittor_ddim.parity.align.rounding import Rounding, counted, gradient_gaps, update_gaps
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import leaves

#: Steps that a side does before the other takes its turn.
TURN = 5
#: An average that has moved by less than this share of a weight has moved by rounding.
_UNMOVED = 1e-4


def check_loss(work: Work, answers: list[Any]) -> None:
    """Compare the losses of batch 0 in evaluation mode."""
    ours, theirs = (answer["loss"] for answer in answers)
    gap = relative(ours, theirs)
    told = say("two", first=f"{ours:.9g}", second=f"{theirs:.9g}")
    notes = [told, *_not_finite([ours, theirs])]
    check = work.note("loss", gap, work.bounds.loss, 1, "", notes)
    if check.status == "departs":
        work.find(Finding("loss", where=told, difference=gap))


def _not_finite(losses: list[float]) -> list[str]:
    """Say that nothing can be compared where a loss is NaN or infinite."""
    return [] if all(map(math.isfinite, losses)) else [say("not_finite")]


def gradients(work: Work) -> list[dict[str, Any]]:
    """Return both sides' gradients of the first batch, as arrays by the first's names."""
    answers = [
        side.call("gradients", train=True, still=still, seed=0)
        for side, still in zip(work.sides, work.still, strict=True)
    ]
    pairs = [pair for pair in work.pairs if pair.first in work.trainable]
    found: list[dict[str, Any]] = [{}, {}]
    for pair in pairs:
        names = (pair.first, pair.second)
        keys = [a["gradients"].get(n) for a, n in zip(answers, names, strict=True)]
        arrays = [None if key is None else work.store.get(key) for key in keys]
        known = next((a for a in arrays if a is not None), None)
        for index, array in enumerate(arrays):
            if array is None and known is not None:
                array = np.zeros_like(known)
            if array is not None:
                turned = index == 1 and pair.transposed and arrays[1] is not None
                found[index][pair.first] = array.T if turned else array
    return found


def check_gradients(work: Work, grads: list[dict[str, Any]], rounding: Rounding) -> None:
    """Compare all gradients of the first batch."""
    gaps = gradient_gaps(*grads)
    worst, bound, notes = max(gaps.values(), default=0.0), work.bounds.gradient, []
    if not worst <= bound:
        bound, notes = _widened(bound, rounding.gradients(grads[0]))
    # A gradient spreads from the loss to the input, so the last one to depart is the first.
    wrong = [name for name, gap in gaps.items() if not gap <= bound]
    where = wrong[-1] if wrong else max(gaps, key=lambda name: gaps[name], default="")
    check = work.note("gradients", worst, bound, len(gaps), where, notes)
    if check.status == "departs":
        work.find(
            Finding("gradients", where.rpartition(".")[0], where=where, difference=worst,
                    raw=grads)
        )  # fmt: skip


def _widened(bound: float, own: float) -> tuple[float, list[str]]:
    """Return the bound where rounding is known to make ``own``, and what to say of it."""
    if own <= bound:
        return bound, []
    return own, [say("rounding", gap=f"{own:.2g}")]


def train(work: Work, steps: int) -> list[list[dict[str, Any]]]:
    """Let the sides train in turns, and return the records of all steps."""
    records: list[list[dict[str, Any]]] = [[], []]
    for first in range(0, steps, TURN):
        count = min(TURN, steps - first)
        for index, side in enumerate(work.sides):
            records[index] += side.call("train", first=first, count=count, still=work.still[index])
    for side, own, result in zip(work.sides, records, work.result.sides, strict=True):
        result.losses = [record["loss"] for record in own]
        columns = ("step_time_s", "cpu_time_s", "gc_time_s", "kernels_loaded")
        result.steps = {name: [record[name] for record in own] for name in columns}
        result.cost = side.call("memory")
    return records


def updates(
    work: Work, start: dict[str, str], records: list[list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return what the first step added to each parameter, by the first's names, per side."""
    found: list[dict[str, Any]] = [{}, {}]
    for pair in work.pairs:
        if pair.first not in work.trainable:
            continue
        stored = work.store.get(start[pair.first])
        begin, kind = wide(stored), np.result_type(stored, np.float32)
        for index, name in enumerate((pair.first, pair.second)):
            after = wide(work.store.get(records[index][0]["state"][name]))
            after = after.T if index == 1 and pair.transposed else after
            found[index][pair.first] = (after.reshape(begin.shape) - begin).astype(kind)
    return found


def check_step(
    work: Work, grads: list[dict[str, Any]], steps: list[dict[str, Any]], rounding: Rounding
) -> float:
    """Compare the first update where the gradient is more than rounding; return the bound."""
    gaps = update_gaps(grads[0], *steps)
    worst, bound, notes = max(gaps.values(), default=None), work.bounds.step, []
    if worst is not None and not worst <= bound:
        bound, notes = _widened(bound, rounding.updates(grads[0], steps[0]))
    where = max(gaps, key=lambda name: gaps[name], default="")
    check = work.note("step", worst, bound, len(gaps), where, notes)
    if check.status == "departs":
        work.find(Finding("step", where.rpartition(".")[0], where=where, difference=worst))
    return bound


def check_average(
    work: Work,
    start: dict[str, str],
    grads: list[dict[str, Any]],
    records: list[list[Any]],
    bound: float,
) -> None:
    """Compare how far averaged weights have moved in the first step, where both sides keep some.

    As in :func:`check_step`, only where the gradient is more than rounding.

    :param bound: that of the step
    """
    averages = [own[0].get("average") for own in records]
    gaps = {}
    for pair in work.pairs if all(averages) else ():
        if pair.first in averages[0] and pair.second in averages[1] and pair.first in grads[0]:
            begin = wide(work.store.get(start[pair.first]))
            moved = counted(grads[0], pair.first).reshape(begin.shape)
            one = work.store.get(averages[0][pair.first]).reshape(begin.shape) - begin
            other = work.store.get(averages[1][pair.second])
            other = (other.T if pair.transposed else other).reshape(begin.shape) - begin
            if moved.any():
                least = _UNMOVED * rms(begin)
                gaps[pair.first] = distance(one[moved], other[moved], least)
    worst = max(gaps.values(), default=None)
    where = max(gaps, key=lambda name: gaps[name], default="")
    check = work.note("average", worst, bound, len(gaps), where)
    if check.status == "departs":
        work.find(Finding("average", where=where, difference=worst))


def check_rates(work: Work, records: list[list[dict[str, Any]]]) -> None:
    """Compare the learning rates of all steps."""
    rates = [[record["rate"] for record in own] for own in records]
    known = all(rate is not None for own in rates for rate in own)
    gaps = [relative(a, b) for a, b in zip(*rates, strict=True)] if known else []
    wrong = [step for step, gap in enumerate(gaps) if gap > 1e-6]
    where = say("step", step=wrong[0]) if wrong else ""
    check = work.note("rate", max(gaps, default=None), 1e-6, len(gaps), where)
    if check.status == "departs":
        first, second = (f"{own[wrong[0]]:g}" for own in rates)
        told = say("step_two", step=wrong[0], first=first, second=second)
        work.find(Finding("rate", where=told, difference=gaps[wrong[0]]))


def check_losses(work: Work, rounding: Rounding) -> None:
    """Compare the losses of all steps."""
    losses = [side.losses for side in work.result.sides]
    gaps = [relative(a, b) for a, b in zip(*losses, strict=True)]
    bound, notes = work.bounds.losses, []
    bounds = [bound] * len(gaps)
    if any(not gap <= bound for gap in gaps):
        bounds = rounding.losses(losses[0], bound)
        notes = _widened(bound, max(bounds))[1]
    notes += _not_finite([*losses[0], *losses[1]])
    wrong = [step for step, gap in enumerate(gaps) if not gap <= bounds[step]]
    where = say("step", step=wrong[0]) if wrong else ""
    # Of several steps, the one that is furthest above its bound, or nearest to it.
    worst = max(range(len(gaps)), key=lambda step: gaps[step] / bounds[step])
    check = work.note("losses", gaps[worst], bounds[worst], len(gaps), where, notes)
    if check.status == "departs":
        work.find(Finding("losses", where=where, difference=gaps[wrong[0]]))


def check_samples(work: Work) -> None:
    """Compare what both sample from the initial weights with one seed."""
    if not all("sample" in side.optional for side in work.sides):
        work.note("samples", None, None, 0)
        return
    one, other = (side.call("sample", seed=0) for side in work.sides)
    gap = tree_distance(work.store, one, other)
    check = work.note("samples", gap, work.bounds.samples, len(leaves(one)))
    if check.status == "departs":
        work.find(Finding("samples", difference=gap))


def check_reload(work: Work) -> None:
    """Let each side save and load what it has trained: nothing may change."""
    worst, where, compared = 0.0, "", 0
    for side in work.sides:
        answer = side.call("reload")
        finite = any(map(math.isfinite, answer["losses"]))  # or training has diverged
        gaps = {"loss": relative(*answer["losses"])} if finite else {}
        for name, key in answer["before"].items():
            kept = answer["after"].get(name)
            same = kept == key
            gaps[name] = 0.0 if same else 1.0
            if kept and not same:
                gaps[name] = distance(work.store.get(key), work.store.get(kept))
        compared += len(gaps)
        name = max(gaps, key=lambda name: gaps[name])
        if gaps[name] > worst:
            worst, where = gaps[name], f"{side.name}, {name}"
    check = work.note("reload", worst, work.bounds.module, compared, where)
    if check.status == "departs":
        work.find(Finding("reload", where=where, difference=worst))


def used_ratio(work: Work, grads: dict[str, Any], used: dict[str, str | None]) -> float | None:
    """Return by which one factor an optimiser's gradients differ from the loss's own, if one does.

    :param grads: of the loss, by name
    :param used: keys of those that the optimiser was given, by the same names
    """
    ratios = []
    for name, gradient in grads.items():
        key = used.get(name)
        size = rms(gradient)
        if key is None or size == 0.0:
            continue
        given = work.store.get(key)
        ratio = rms(given) / size
        if distance(gradient * ratio, given) > 1e-3:
            return None
        ratios.append(ratio)
    if not ratios or max(ratios) > 1.01 * min(ratios):
        return None
    return float(np.median(ratios))
