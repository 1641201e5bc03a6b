"""Our checkpoints: everything a run needs to go on exactly where it stopped.

``ckpt_{step}/`` holds ``model.safetensors``, ``ema.safetensors`` (unless EMA is off),
``optimizer.safetensors`` and ``state.json`` with the position, the config, the versions and the
SHA-256 of the other files. A checkpoint appears under its name only when it is complete and on the
disk, so a kill at any instant leaves the last good one. In a run folder there is one writer, the
holder of :meth:`jittor_ddim.runs.folder.Run.lock`, and any number of readers.

    ckpt_300             a complete checkpoint
    .ckpt_300.replaced   complete too: it stands in while a new ckpt_300 takes its place
    .ckpt_300.tmp        half-written or half-deleted; the next save removes it
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from jittor_ddim.architecture import not_finite
from jittor_ddim.atomic import disk_errors, sync_folder, write_synced
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]

FORMAT = 1
MODEL, EMA, OPTIMIZER, STATE = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "state.json",
)
_COMPLETE = re.compile(r"ckpt_(\d+)|\.ckpt_(\d+)\.replaced")


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after ``step`` optimiser steps; arrays carry the official parameter names."""

    step: int
    epoch: int
    seed: int
    config: Config
    weights: Arrays
    ema_weights: Arrays | None  # None: EMA is off
    optimizer: Arrays  # for instance "exp_avg/conv_in.weight"; a scalar is an array of shape ()
    engine: str  # "jittor" or "pytorch"; either can resume it
    versions: dict[str, str]  # for instance {"jittor_ddim": "0.1.0", "jittor": "1.3.11.0"}


class OneSet(NamedTuple):
    """One set of weights from a file or folder, and what that tells of it."""

    weights: Arrays
    config: Config | None
    kind: str | None  # "ema" or "raw"; None: the only set of a file that does not tell
    step: int | None  # optimiser steps taken; None: the file does not tell


class _State(BaseModel):
    """state.json without its format number and its own checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    epoch: int
    seed: int
    engine: str
    versions: dict[str, str]
    config: Config
    sha256: dict[str, str]


def save_checkpoint(log_folder: Path, checkpoint: Checkpoint, keep_last: int) -> Path:
    """Save a checkpoint and delete older ones, safely against a kill at any instant.

    :param keep_last: how many checkpoints of earlier steps to keep besides this one
    :returns: its folder, ``log_folder/ckpt_{step}``
    :raises MachineError: if the disk is full or read-only; the checkpoints there are untouched
    """
    folder = log_folder / f"ckpt_{checkpoint.step}"
    fresh = log_folder / f".ckpt_{checkpoint.step}.tmp"
    with disk_errors(folder):
        _tidy(log_folder)
        try:
            _write(fresh, checkpoint)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if folder.exists():
            os.rename(folder, log_folder / f".{folder.name}.replaced")
        os.rename(fresh, folder)
        sync_folder(log_folder)
        stored = _stored(log_folder)
        older = [stored[step] for step in sorted(stored) if step < checkpoint.step]
        for path in older[: max(0, len(older) - keep_last)]:
            _discard(path)
        _tidy(log_folder)
    return folder


def list_checkpoints(log_folder: Path) -> list[Path]:
    """Return the complete checkpoints in a run folder, oldest first."""
    stored = _stored(log_folder)
    return [stored[step] for step in sorted(stored)]


def newest_checkpoint(log_folder: Path) -> Path | None:
    """Return the checkpoint with the highest step, or None."""
    return next(reversed(list_checkpoints(log_folder)), None)


def find_checkpoint(path: Path, step: int | None = None) -> Path:
    """Return the checkpoint that a path means: itself, or one in a run folder.

    :param step: which one of a run folder; None is the newest
    :raises CheckpointError: if there is none, naming those that there are
    """
    stored = _stored(path)
    if not stored and (_COMPLETE.fullmatch(path.name) or (path / STATE).is_file()):
        return path
    if not stored:
        raise CheckpointError(f"{path}: no checkpoint here; give a run's folder or its ckpt_N")
    chosen = max(stored) if step is None else step
    if chosen not in stored:
        raise CheckpointError(
            f"{path}: no ckpt_{step}, only {', '.join(map(str, sorted(stored)))}"
        )
    return stored[chosen]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check it against its checksums.

    A damaged newest checkpoint is an error, never silently replaced by an older one: going on
    from there repeats work and deletes later files, which is the user's to decide.

    :param path: a ``ckpt_N`` folder, or a run folder, which means its newest one
    :raises CheckpointError: naming the damaged or missing file and the newest good checkpoint
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        return _read(folder)


def read_weights(path: Path, ema: bool) -> OneSet:
    """Read the network of a checkpoint without its optimiser, and the config that it fits.

    :param ema: the moving average; the plain weights if the run keeps none
    :raises CheckpointError: see :func:`load_checkpoint`
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        state = _read_state(folder)
        kind, name = ("ema", EMA) if ema and EMA in state.sha256 else ("raw", MODEL)
        return OneSet(_read_arrays(folder, state, name), state.config, kind, state.step)


def read_config(path: Path) -> Config:
    """Read the config of a checkpoint.

    :raises CheckpointError: see :func:`load_checkpoint`
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        return _read_state(folder).config


def _stored(log_folder: Path) -> dict[int, Path]:
    """The complete checkpoints by step; one under its final name wins over a stand-in."""
    stored: dict[int, Path] = {}
    for path in sorted(log_folder.glob("*ckpt_*"), reverse=True):  # "ckpt_…" before ".ckpt_…"
        match = _COMPLETE.fullmatch(path.name)
        if match and path.is_dir():
            stored.setdefault(int(match[1] or match[2]), path)
    return stored


def _discard(folder: Path) -> None:
    """Delete a folder that stops counting as complete before its first file is gone."""
    doomed = folder.with_name(f".{folder.name.strip('.')}.tmp")
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def _tidy(log_folder: Path) -> None:
    """Finish or undo what a killed process had begun."""
    for path in log_folder.glob(".ckpt_*.tmp"):
        shutil.rmtree(path)
    for path in log_folder.glob(".ckpt_*.replaced"):
        final = path.with_name(path.stem[1:])
        if final.exists():
            _discard(path)
        else:
            os.rename(path, final)


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir()
    arrays = {
        MODEL: checkpoint.weights,
        EMA: checkpoint.ema_weights,
        OPTIMIZER: checkpoint.optimizer,
    }
    sha256 = {}
    for name, content in arrays.items():
        if content is not None:
            data = to_safetensors(content)
            write_synced(folder / name, data)
            sha256[name] = hashlib.sha256(data).hexdigest()
    state = _State(
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        seed=checkpoint.seed,
        engine=checkpoint.engine,
        versions=checkpoint.versions,
        config=checkpoint.config,
        sha256=sha256,
    ).model_dump(mode="json")
    whole = {"format": FORMAT, **state, "checksum": _checksum(state)}
    write_synced(folder / STATE, json.dumps(whole, indent=1).encode())
    sync_folder(folder)


def to_safetensors(arrays: Arrays, metadata: dict[str, str] | None = None) -> bytes:
    """Return arrays as the bytes of a safetensors file."""
    # The library writes the memory as it lies, so a transposed view would come back scrambled.
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return safetensors.numpy.save(dense, metadata)


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _read(folder: Path) -> Checkpoint:
    state = _read_state(folder)
    return Checkpoint(
        step=state.step,
        epoch=state.epoch,
        seed=state.seed,
        config=state.config,
        weights=_read_arrays(folder, state, MODEL),
        ema_weights=_read_arrays(folder, state, EMA) if EMA in state.sha256 else None,
        optimizer=_read_arrays(folder, state, OPTIMIZER),
        engine=state.engine,
        versions=state.versions,
    )


def _read_state(folder: Path) -> _State:
    path = folder / STATE
    try:
        tree = json.loads(_read_bytes(path))
    except ValueError:  # not UTF-8, or not JSON
        raise CheckpointError(f"{path}: damaged, not JSON") from None
    if not isinstance(tree, dict) or "format" not in tree:
        raise CheckpointError(f"{path}: not the state of a checkpoint")
    if (found := tree.pop("format")) != FORMAT:
        raise CheckpointError(
            f"{path}: format {found!r}, but this version reads {FORMAT}; upgrade jittor-ddim"
        )
    if tree.pop("checksum", None) != _checksum(tree):
        raise CheckpointError(f"{path}: damaged, its checksum differs")
    try:
        return _State.model_validate(tree)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise CheckpointError(f"{path}: {key} is wrong or unknown to this version") from None


def _read_arrays(folder: Path, state: _State, name: str) -> Arrays:
    path = folder / name
    data = _read_bytes(path)
    if hashlib.sha256(data).hexdigest() != state.sha256.get(name):
        raise CheckpointError(f"{path}: damaged or cut short, its checksum differs")
    arrays = safetensors.numpy.load(data)
    if fault := not_finite(arrays):
        raise CheckpointError(f"{path}: {fault}")
    return arrays


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read, {error.strerror}") from None


@contextmanager
def _with_remedy(folder: Path) -> Iterator[None]:
    """Add to an error which checkpoint of the same run can be used instead."""
    try:
        yield
    except CheckpointError as error:
        others = [path for path in list_checkpoints(folder.parent) if path != folder]
        good = next((path for path in reversed(others) if _is_good(path)), None)
        if good is None:
            remedy = "there is no other good checkpoint beside it: restore it from a copy"
        else:
            remedy = f"the newest good one is {good}; delete {folder.name} to go on from there"
        raise CheckpointError(f"{error}; {remedy}") from None


def _is_good(folder: Path) -> bool:
    try:
        _read(folder)
    except CheckpointError:
        return False
    return True
