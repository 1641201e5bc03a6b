"""Run the engines alternately: A B A B, each in its own process, one at a time.

Each unit of work leaves a file when it is done, so that an interrupted comparison continues with
the first one that is missing, and an engine that fails leaves the others' results whole.
"""

import logging
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints.native import list_checkpoints
from jittor_ddim.compare.alignment import LOSS_STEPS, compare_layers
from jittor_ddim.compare.gather import rounding_in_question
from jittor_ddim.compare.layout import (
    INSPECTION,
    LAYERS,
    PHASES,
    ROUNDING,
    TRAINED,
    TRAINING,
    WEIGHTS,
    cost_file,
    samples_file,
)
from jittor_ddim.compare.plan import Plan
from jittor_ddim.parity.contender import Contender, start_contenders
from jittor_ddim.parity.layout import FAILURE

#: What is started; the engine's name, the comparison's folder and the experiment root follow.
COMMAND = (sys.executable, "-m", "jittor_ddim.compare.session")
_PHASE_STEPS = 3
_ROUNDS, _CALLS, _WARMUP_CALLS = 3, 4, 2

_log = logging.getLogger(__name__)


def measure(plan: Plan, folder: Path, exp: Path, command: Sequence[str] = COMMAND) -> None:
    """Do everything of the plan that is not done yet.

    :param folder: the comparison's, with the plan and the weights to start from in it
    :param exp: the experiment root, where data sets lie
    :param command: what starts a side's process; its arguments are added
    :raises UserError: if an engine is not available here, or they are on different devices
    """
    if is_complete(plan, folder):
        _tidy(plan, folder)  # again: it may have been killed in the middle of it
        return
    with ExitStack() as stack:
        contenders = start_contenders(stack, plan.engines, folder, command, str(folder), str(exp))
        _align(contenders, plan, folder)
        _train(contenders, plan)
        _trace_rounding(contenders, plan, folder)
        _take_apart(contenders)
        _share_trained_weights(contenders, folder)
        _sample(contenders, plan)
        _time(contenders, plan)
        for contender in contenders:
            contender.finish()
    if is_complete(plan, folder):
        _tidy(plan, folder)


def is_complete(plan: Plan, folder: Path) -> bool:
    """Return whether everything is done; a side that failed is tried again."""
    units = [WEIGHTS, TRAINING, PHASES, *map(samples_file, plan.variants)]
    units += [cost_file(kind, size) for kind, size in _costs(plan)]
    if rounding_in_question(plan, folder):
        units.append(ROUNDING)
    sides = [folder / name for name in plan.engines]
    return (folder / LAYERS).exists() and all(
        (side / unit).exists() and not (side / FAILURE).exists()
        for side in sides
        for unit in units
    )


def _align(contenders: list[Contender], plan: Plan, folder: Path) -> None:
    for contender in contenders:
        contender.complete(WEIGHTS, "a hash of every weight", "weights")
    if (folder / LAYERS).exists():
        return
    for contender in contenders:
        contender.complete(INSPECTION, "outputs and gradients of every layer", "inspect")
    if all(contender.has(INSPECTION) for contender in contenders):
        compare_layers(plan.config, folder, [contender.folder for contender in contenders])


def _train(contenders: list[Contender], plan: Plan) -> None:
    """Train alternately; after an interruption, the side that is behind catches up first."""
    done = {c: c.call("steps_done") for c in contenders if not c.has(TRAINING)}
    for first, last in plan.blocks():
        for contender in done:
            if contender.alive and done[contender] < first:
                _log.info(
                    "%s: training steps %d to %d of %d", contender.name, first, last, plan.steps
                )
                contender.call("train", first=first, last=last)
    for contender in done:
        if contender.alive:
            contender.write(TRAINING, {"steps": plan.steps})


def _trace_rounding(contenders: list[Contender], plan: Plan, folder: Path) -> None:
    """Where only the curves depart, ask every side how far rounding drives it from itself."""
    if rounding_in_question(plan, folder):
        steps = min(LOSS_STEPS, plan.steps)
        for contender in contenders:
            what = f"the first {steps} steps again, one rounding away"
            contender.complete(ROUNDING, what, "rounding", steps=steps)


def _take_apart(contenders: list[Contender]) -> None:
    """A few more steps of the training in parts, which the training itself does not wait for."""
    for contender in contenders:
        if contender.has(TRAINING):
            what = "forward, backward and optimizer apart"
            contender.complete(PHASES, what, "phases", count=_PHASE_STEPS)


def _share_trained_weights(contenders: list[Contender], folder: Path) -> None:
    """All sample with the same weights: those that the first side, if it could, has trained."""
    trained = [c.folder / TRAINED for c in contenders if c.has(TRAINED)]
    if trained and not (folder / TRAINED).exists():
        write_atomic(folder / TRAINED, trained[0].read_bytes())


def _sample(contenders: list[Contender], plan: Plan) -> None:
    for variant in plan.variants:
        what = f"sampling with {variant.tag}"
        for contender in contenders:
            contender.complete(samples_file(variant), what, "sample", variant=variant.stored)


def _time(contenders: list[Contender], plan: Plan) -> None:
    """Time calls at several batch sizes, alternating between the sides."""
    for kind, size in _costs(plan):
        missing = [c for c in contenders if not c.has(cost_file(kind, size))]
        if missing:
            _log.info("Timing: %s, batch size %d", kind, size)
        warm, *rounds = (
            [c.call("cost", kind=kind, batch_size=size, calls=calls) for c in missing]
            for calls in (_WARMUP_CALLS, *[_CALLS] * _ROUNDS)
        )
        for contender, warmup, *parts in zip(missing, warm, *rounds, strict=True):
            if contender.alive:
                contender.write(cost_file(kind, size), {"warmup": warmup, "rounds": parts})


def _tidy(plan: Plan, folder: Path) -> None:
    """Delete what only an unfinished comparison needs: at the CIFAR-10 size more than a GB."""
    for side in (folder / name for name in plan.engines):
        for name in (TRAINED, INSPECTION):
            (side / name).unlink(missing_ok=True)
        for checkpoint in list_checkpoints(side):
            shutil.rmtree(checkpoint)


def _costs(plan: Plan) -> list[tuple[str, int]]:
    """What is timed apart; the training at its own batch size is timed as it goes."""
    train = [("train", size) for size in plan.batch_sizes if size != plan.batch_size]
    return train + [("sample", size) for size in plan.batch_sizes]
