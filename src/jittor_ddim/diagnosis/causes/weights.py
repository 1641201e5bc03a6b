"""Causes that the newest checkpoint's arrays tell."""

from __future__ import annotations

import math

import numpy as np

from jittor_ddim.checkpoints.native import (
    EMA,
    MODEL,
    OPTIMIZER,
    list_checkpoints,
    newest_checkpoint,
)
from jittor_ddim.checkpoints.safetensors_files import read_safetensors
from jittor_ddim.checkpoints.strict import check_fits
from jittor_ddim.diagnosis.causes.rates import diverged, short
from jittor_ddim.diagnosis.evidence import Evidence, distance, matrices
from jittor_ddim.diagnosis.findings import Finding, Value
from jittor_ddim.errors import CheckpointError

#: Of the start's size; healthy: 1.0 to 3.1. Only weight decay makes weights so small.
_SHRUNK = 0.3
#: Of the learning rate, the most by which one step of Adam changes a weight: (1 - beta1) / (1 -
#: beta2)^0.5 for a gradient after many of 0. Healthy: 0.02 to 0.75 of the rate times the steps.
_ADAM = 3.2


def not_finite(evidence: Evidence) -> Finding | None:
    """The newest checkpoint holds numbers that are not finite."""
    folder = newest_checkpoint(evidence.folder)
    if evidence.damage is None or folder is None:
        return None
    for name in (MODEL, EMA, OPTIMIZER):
        path = folder / name
        try:
            arrays = read_safetensors(path)[0] if path.is_file() else {}
            wrong = {n: int((~np.isfinite(a.array())).sum()) for n, a in arrays.items()}
        except CheckpointError:
            continue
        bad = [n for n, count in wrong.items() if count]
        if bad:
            values: dict[str, Value] = {
                "file": f"{folder.name}/{name}",
                "name": bad[0],
                "arrays": len(bad),
                "numbers": sum(wrong.values()),
                "good": _older(evidence),
            }
            return Finding("not_finite", "ruins", values)
    return None


def damaged(evidence: Evidence) -> Finding | None:
    """The newest checkpoint is cut short or changed."""
    if evidence.damage is None or not_finite(evidence):
        return None
    return Finding("damaged", "ruins", {"error": evidence.damage, "good": _older(evidence)})


def other_config(evidence: Evidence) -> Finding | None:
    """The run's config.yml is no longer the one that its weights were trained with."""
    if evidence.checkpoint is None:
        return None
    try:
        check_fits(evidence.checkpoint.config, evidence.config, evidence.folder / "config.yml")
    except CheckpointError as error:
        return Finding("other_config", "ruins", {"error": str(error)})
    return None


def dead_layer(evidence: Evidence) -> Finding | None:
    """All weights of a layer are zero, so that nothing of its input comes through."""
    if evidence.checkpoint is None or not evidence.checkpoint.step:
        return None
    weights = evidence.checkpoint.weights
    dead = [n for n in matrices(weights) if not weights[n].any()]
    if not dead:
        return None
    last = "conv_out.weight" in dead
    values: dict[str, Value] = {
        "name": "conv_out.weight" if last else dead[0],
        "count": len(dead),
        "steps": evidence.checkpoint.step,
    }
    return Finding("dead_layer", "ruins" if last else "harms", values)


def shrunk(evidence: Evidence) -> Finding | None:
    """Weight decay has pulled the weights to zero."""
    checkpoint, start = evidence.checkpoint, evidence.start
    if checkpoint is None or start is None:
        return None
    size = distance(checkpoint.weights, None) / distance(start, None)
    if size > _SHRUNK or not checkpoint.config.optim.weight_decay:
        return None
    values: dict[str, Value] = {
        "size": size,
        "decay": checkpoint.config.optim.weight_decay,
        "steps": checkpoint.step,
    }
    return Finding("shrunk", "ruins" if size < 0.1 else "harms", values)


def foreign_weights(evidence: Evidence) -> Finding | None:
    """The weights have a size, or are at a place, to which no such training brings them."""
    checkpoint, start, optim = evidence.checkpoint, evidence.start, evidence.config.optim
    if checkpoint is None or start is None or shrunk(evidence) or diverged(evidence):
        return None
    if any("Resuming with another config: optim" in line for line in evidence.log):
        return None  # the rates of earlier steps are unknown
    size = distance(checkpoint.weights, None) / distance(start, None)
    reach = _ADAM * evidence.stride * checkpoint.step if optim.optimizer == "Adam" else math.inf
    if size > _SHRUNK and not evidence.moved > max(reach, 1.0):
        return None
    values: dict[str, Value] = {
        "size": size,
        "moved": evidence.moved,
        "reach": short(reach),
        "steps": checkpoint.step,
    }
    return Finding("foreign_weights", "ruins", values)


def frozen(evidence: Evidence) -> Finding | None:
    """Layers are to the bit what they were at the start: no gradient reaches them."""
    checkpoint, start = evidence.checkpoint, evidence.start
    if checkpoint is None or start is None or checkpoint.step < 10:
        return None
    weights = checkpoint.weights
    names = matrices(weights)
    # Below a learning rate's smallest step in float32, none moves: that is another cause's.
    same = [name for name in names if np.array_equal(weights[name], start[name])]
    if not same or evidence.moved < 1e-6:
        return None
    values: dict[str, Value] = {
        "name": same[0],
        "count": len(same),
        "all": len(names),
        "steps": checkpoint.step,
    }
    return Finding("frozen", "harms", values)


def unlearnt_classes(evidence: Evidence) -> Finding | None:
    """Classes were always replaced by "no class", so that asking for one changes nothing."""
    config = evidence.config
    moved = _rows_moved(evidence, slice(0, -1))  # not 0 if other weights were the start
    if config.model.num_classes is None or config.training.class_dropout < 1 or moved:
        return None
    values: dict[str, Value] = {
        "dropout": config.training.class_dropout,
        "classes": config.model.num_classes,
        "moved": moved,
    }
    return Finding("unlearnt_classes", "ruins", values)


def no_unconditional(evidence: Evidence) -> Finding | None:
    """Images were never shown without their class, which guidance needs."""
    config = evidence.config
    if config.model.num_classes is None or config.training.class_dropout > 0:
        return None
    values: dict[str, Value] = {"moved": _rows_moved(evidence, slice(-1, None))}
    return Finding("no_unconditional", "costs", values)


def old_weights(evidence: Evidence) -> Finding | None:
    """Sampling takes an older checkpoint than the newest."""
    wanted, checkpoints = evidence.config.sampling.ckpt_id, list_checkpoints(evidence.folder)
    stored = [
        int(path.name.strip(".").split(".")[0].removeprefix("ckpt_")) for path in checkpoints
    ]
    if wanted is None or not stored or wanted == stored[-1]:
        return None
    steps, losses = evidence.validations
    then = losses[steps <= wanted][-1:] if len(losses) else evidence.losses[wanted - 1 : wanted]
    now = losses[-1:] if len(losses) else evidence.losses[-1:]
    values: dict[str, Value] = {
        "wanted": wanted,
        "newest": stored[-1],
        "there": ", ".join(map(str, stored)),
        "then": round(float(then[0]), 4) if len(then) else "?",
        "now": round(float(now[0]), 4) if len(now) else "?",
    }
    missing = wanted not in stored
    return Finding(
        "old_weights", "ruins" if missing or wanted < stored[-1] / 4 else "harms", values
    )


def unsaved_steps(evidence: Evidence) -> Finding | None:
    """The log goes on long after the newest checkpoint."""
    checkpoint, training = evidence.checkpoint, evidence.config.training
    if checkpoint is None or not len(evidence.losses):
        return None
    if any(evidence.folder.glob(".ckpt_*.tmp")):
        return None  # one is being written
    # A run that trains is behind by less than the steps between two checkpoints, and by none at
    # its end.
    behind = evidence.steps - checkpoint.step
    if behind <= (0 if evidence.steps >= evidence.planned else training.snapshot_freq):
        return None
    values: dict[str, Value] = {
        "steps": evidence.steps,
        "newest": checkpoint.step,
        "freq": training.snapshot_freq,
        "then": short(evidence.level(checkpoint.step)),
        "now": short(evidence.level()),
    }
    early = checkpoint.step < evidence.steps / 4
    return Finding("unsaved_steps", "ruins" if early else "harms", values)


def _rows_moved(evidence: Evidence, rows: slice) -> float:
    """The largest number in rows of the classes' embedding, which begins at 0."""
    weights = evidence.checkpoint.weights if evidence.checkpoint else {}
    table = weights.get("class_embedding.weight")
    return 0.0 if table is None else float(np.abs(table[rows]).max())


def _older(evidence: Evidence) -> str:
    older = [path.name for path in list_checkpoints(evidence.folder)[:-1]]
    return ", ".join(older) or "-"
