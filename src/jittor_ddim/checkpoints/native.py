"""The project's own checkpoints: everything a run needs to resume exactly where it stopped.

``ckpt_{step}/`` holds ``model.safetensors``, ``ema.safetensors`` (unless EMA is off),
``optimizer.safetensors`` and ``state.json`` with the position, the config, the versions and the
SHA-256 of the other files. A checkpoint gets its name only when it is complete and on the disk, so
a kill at any moment leaves the last good one. A run folder has one writer, the holder of
:meth:`jittor_ddim.runs.folder.Run.lock`, and any number of readers.

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
from pathlib import Path
from typing import Any

import safetensors.numpy
from pydantic import BaseModel, ConfigDict, ValidationError

from jittor_ddim.architecture import not_finite
from jittor_ddim.atomic import disk_errors, sync_file, sync_folder, write_synced
from jittor_ddim.checkpoints.contents import Arrays, Checkpoint, OneSet
from jittor_ddim.checkpoints.safetensors_files import safetensors_parts
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, naming

FORMAT = 1
MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.safetensors"
STATE = "state.json"
_COMPLETE = re.compile(r"ckpt_(\d+)|\.ckpt_(\d+)\.replaced")


class _State(BaseModel):
    """state.json without its format number and its own checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    epoch: int
    seed: int
    engine: str
    precision: str | None = None  # older ones do not say
    versions: dict[str, str]
    config: Config
    sha256: dict[str, str]


def save_checkpoint(log_folder: Path, checkpoint: Checkpoint, keep_last: int) -> Path:
    """Save a checkpoint and delete older ones; a kill at any moment does no harm.

    :param keep_last: how many checkpoints of earlier steps to keep besides this one
    :returns: its folder, ``log_folder/ckpt_{step}``
    :raises MachineError: if the disk is full or read-only; existing checkpoints are untouched
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
        older = [path for step, path in _stored(log_folder).items() if step < checkpoint.step]
        for path in older[: max(0, len(older) - keep_last)]:
            _discard(path)
        _tidy(log_folder)
    return folder


def list_checkpoints(log_folder: Path) -> list[Path]:
    """Return the complete checkpoints in a run folder, oldest first."""
    return list(_stored(log_folder).values())


def newest_checkpoint(log_folder: Path) -> Path | None:
    """Return the checkpoint with the highest step, or None."""
    return next(reversed(list_checkpoints(log_folder)), None)


def find_checkpoint(path: Path, step: int | None = None) -> Path:
    """Return the checkpoint at a path: the path itself, or one in a run folder.

    :param step: which checkpoint of a run folder; None is the newest
    :raises CheckpointError: if it does not exist, naming those that do
    """
    stored = _stored(path)
    if not stored and (_COMPLETE.fullmatch(path.name) or (path / STATE).is_file()):
        return path
    if not stored:
        raise CheckpointError(f"{path}: no checkpoint in it; give a run's folder or its ckpt_N")
    chosen = max(stored) if step is None else step
    if chosen not in stored:
        raise CheckpointError(f"{path}: no ckpt_{step}, only {', '.join(map(str, stored))}")
    return stored[chosen]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its checksums.

    A damaged newest checkpoint is an error, never silently replaced by an older one: resuming
    there repeats work and deletes later files, which is for the user to decide.

    :param path: a ``ckpt_N`` folder, or a run folder, which means its newest one
    :raises CheckpointError: naming the damaged or missing file and the newest good checkpoint
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        return _read(folder)


def read_weights(path: Path, ema: bool) -> OneSet:
    """Read a checkpoint's network and config, without the optimiser.

    :param ema: return the moving average; the plain weights if the run keeps none
    :raises CheckpointError: see :func:`load_checkpoint`
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        state = _read_state(folder)
        kind, name = ("ema", EMA) if ema and EMA in state.sha256 else ("raw", MODEL)
        return OneSet(_read_arrays(folder, state, name), state.config, kind, state.step)


def read_config(path: Path) -> Config:
    """Read a checkpoint's config.

    :raises CheckpointError: see :func:`load_checkpoint`
    """
    folder = find_checkpoint(path)
    with _with_remedy(folder):
        return _read_state(folder).config


def _stored(log_folder: Path) -> dict[int, Path]:
    """The complete checkpoints by step, ascending; a final name wins over a stand-in."""
    stored: dict[int, Path] = {}
    for path in sorted(log_folder.glob("*ckpt_*"), reverse=True):  # "ckpt_…" before ".ckpt_…"
        match = _COMPLETE.fullmatch(path.name)
        if match and path.is_dir():
            stored.setdefault(int(match[1] or match[2]), path)
    return dict(sorted(stored.items()))


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
    sha256 = {}
    for name, arrays in (
        (MODEL, checkpoint.weights),
        (EMA, checkpoint.ema_weights),
        (OPTIMIZER, checkpoint.optimizer),
    ):
        if arrays is not None:
            digest = hashlib.sha256()
            with (folder / name).open("wb") as file:
                for part in safetensors_parts(arrays):
                    file.write(part)
                    digest.update(part)
                sync_file(file)
            sha256[name] = digest.hexdigest()
    known = {key: value for key, value in vars(checkpoint).items() if key in _State.model_fields}
    state = _State(**known, sha256=sha256).model_dump(mode="json")
    whole = {"format": FORMAT, **state, "checksum": _checksum(state)}
    write_synced(folder / STATE, json.dumps(whole, indent=1).encode())
    sync_folder(folder)


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _read(folder: Path) -> Checkpoint:
    state = _read_state(folder)
    return Checkpoint(
        **state.model_dump(exclude={"config", "sha256"}),
        config=state.config,
        weights=_read_arrays(folder, state, MODEL),
        ema_weights=_read_arrays(folder, state, EMA) if EMA in state.sha256 else None,
        optimizer=_read_arrays(folder, state, OPTIMIZER),
    )


def _read_state(folder: Path) -> _State:
    with naming(folder / STATE):
        tree = read_json(folder / STATE)
        if "format" not in tree:
            raise CheckpointError("not the state of a checkpoint")
        if (found := tree.pop("format")) != FORMAT:
            raise CheckpointError(
                f"format {found!r}, but this version reads {FORMAT}; upgrade jittor-ddim"
            )
        if tree.pop("checksum", None) != _checksum(tree):
            raise CheckpointError("damaged (wrong checksum)")
        try:
            return _State.model_validate(tree)
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise CheckpointError(f"{key} is wrong, or unknown to this version") from None


def _read_arrays(folder: Path, state: _State, name: str) -> Arrays:
    with naming(folder / name):
        data = _read_bytes(folder / name)
        if hashlib.sha256(data).hexdigest() != state.sha256.get(name):
            raise CheckpointError("damaged or cut short (wrong checksum)")
        arrays = safetensors.numpy.load(data)
        if fault := not_finite(arrays):
            raise CheckpointError(fault)
        return arrays


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with a JSON object; errors do not name the file.

    :raises CheckpointError: if it is missing or not a JSON object
    """
    try:
        tree = json.loads(_read_bytes(path))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deeply
        raise CheckpointError("damaged, not JSON") from None
    if not isinstance(tree, dict):
        raise CheckpointError("damaged, not a JSON object")
    return tree


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError("missing") from None
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})") from None


@contextmanager
def _with_remedy(folder: Path) -> Iterator[None]:
    """Add to an error which checkpoint of the same run can be used instead."""
    try:
        yield
    except CheckpointError as error:
        others = [path for path in list_checkpoints(folder.parent) if path != folder]
        good = next((path for path in reversed(others) if _is_good(path)), None)
        remedy = (
            f"the newest good one is {good}; delete {folder.name} to resume from there"
            if good
            else "the run has no other good checkpoint, so restore this one from a copy"
        )
        raise CheckpointError(f"{error}; {remedy}") from None


def _is_good(folder: Path) -> bool:
    try:
        _read(folder)
    except CheckpointError:
        return False
    return True
