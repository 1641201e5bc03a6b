"""The experiment folder: where a run's files are, which process may write them, what it replaces.

exp/logs/DOC/                   one training run
exp/logs/.DOC.lock              held by the process that trains it
exp/image_samples/FOLDER/       samples
"""

import logging
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from jittor_ddim.atomic import disk_errors, sync_folder, write_atomic, write_synced
from jittor_ddim.checkpoints.native import newest_checkpoint, read_config
from jittor_ddim.checkpoints.strict import check_resumes
from jittor_ddim.config import Config
from jittor_ddim.errors import UserError
from jittor_ddim.locks import try_lock

#: A folder without this file is never deleted.
_MARKER = ".jittor-ddim"
_MARKER_TEXT = b"A run of jittor-ddim: training again under the same name replaces this folder.\n"
_LONGEST_NAME = 200  # bytes; file systems allow 255, and hidden neighbours need some of them
_log = logging.getLogger(__name__)

#: The locks of this process: the system would grant them twice, and closing the second file would
#: release the first.
_held: set[str] = set()


@dataclass(frozen=True)
class Run:
    """The files of one training run, ``exp/logs/doc``."""

    exp: Path
    doc: str

    @classmethod
    def at(cls, exp: Path, doc: str) -> "Run":
        """Return the run of a name, which need not exist.

        :raises UserError: if the name leads out of the experiment folder
        """
        logs = exp / "logs"
        return cls(exp, str(_inside(logs, doc, "doc").relative_to(logs)))

    @property
    def log_folder(self) -> Path:
        """``exp/logs/doc``."""
        return self.exp / "logs" / self.doc

    @property
    def config_path(self) -> Path:
        """The config as YAML."""
        return self.log_folder / "config.yml"

    @property
    def stdout_path(self) -> Path:
        """The console's log."""
        return self.log_folder / "stdout.txt"

    @property
    def metrics_path(self) -> Path:
        """One JSON object per step."""
        return self.log_folder / "metrics.jsonl"

    @property
    def tensorboard_folder(self) -> Path:
        """TensorBoard's event files."""
        return self.log_folder / "tensorboard"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; see :mod:`jittor_ddim.locks`.

        Take it before :meth:`check`. The file is beside the folder and never deleted: if it were
        inside a folder that is replaced, two processes could each hold one.

        :raises UserError: if another process holds it, naming that process
        """
        path = self._beside("lock")
        key = os.path.realpath(path)
        if key in _held:
            raise self._in_use("this very process")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A typed argument need not be text.
            file = path.open("a+", encoding="utf-8", errors="backslashreplace")
        with file:
            with disk_errors(path):
                if not try_lock(file):
                    raise self._in_use(_holder(file))
                _sign(file)
            _held.add(key)
            try:
                yield
            finally:
                _held.discard(key)

    def check(self, config: Config, *, resume: bool, ask: Callable[[str], bool] | None) -> None:
        """Check that :meth:`create` may go ahead, without touching anything.

        :param ask: puts a question to the user before a run is overwritten; None overwrites it
        :raises UserError: if the user keeps the existing run, if the folder is something else than
            a run, or with ``resume`` if there is nothing to resume
        :raises CheckpointError: with ``resume``, if the newest checkpoint is damaged or of
            another network
        """
        if not resume:
            self._check_replaceable(ask)
            return
        for change in self._check_resumable(config):
            _log.warning("Resuming with another config: %s", change)

    def create(self, config: Config, *, resume: bool) -> None:
        """Make the folder of a new run, or reuse a resumed one's, and store the config in it.

        Call :meth:`check` first: it asks, this does not. Nothing that exists is touched until a
        new folder is complete.

        :raises UserError: as :meth:`check`, which it repeats
        :raises MachineError: if the disk is full or read-only
        """
        text = config.to_yaml().encode()
        if resume:
            self._check_resumable(config)
            write_atomic(self.config_path, text)
        else:
            self._check_replaceable(None)
            self._replace(text)

    def _beside(self, purpose: str) -> Path:
        """A hidden neighbour of the folder; no run has such a name."""
        return self.log_folder.with_name(f".{self.log_folder.name}.{purpose}")

    def _in_use(self, holder: str) -> UserError:
        return UserError(
            f"{self.log_folder}: in use by {holder}; wait until it ends, or choose another `doc`"
        )

    def _check_resumable(self, config: Config) -> list[str]:
        """Return what in the config differs from that of the run's newest checkpoint."""
        newest = newest_checkpoint(self.log_folder)
        if newest is None:
            raise UserError(
                f"{self.log_folder}: nothing to resume, there is no checkpoint; "
                "check `exp` and `doc`, or leave out `resume_training`"
            )
        return check_resumes(read_config(newest), config, newest)

    def _check_replaceable(self, ask: Callable[[str], bool] | None) -> None:
        folder = self.log_folder
        for parent in folder.parents:
            if parent == self.exp / "logs":
                break
            if (parent / _MARKER).exists():
                raise UserError(f"{folder}: lies inside the run {parent}; choose another `doc`")
        if not os.path.lexists(folder):
            return
        if folder.is_symlink() or not folder.is_dir():
            raise UserError(f"{folder}: exists and is not a folder; choose another `doc`")
        if next(folder.iterdir(), None) is None:
            return
        if not (folder / _MARKER).is_file():
            raise UserError(
                f"{folder}: not a run of jittor-ddim (it has no {_MARKER}), so it is not deleted; "
                "choose another `doc`, or move it away"
            )
        if ask is not None and not ask(f"{folder} already exists. Overwrite? (y/n)"):
            raise UserError(
                f"{folder}: kept; choose another `doc`, or add `resume_training` to continue it"
            )

    def _replace(self, config: bytes) -> None:
        """Build the new folder beside the old one, and swap them when it is complete."""
        folder, fresh, old = self.log_folder, self._beside("new"), self._beside("overwritten")
        with disk_errors(folder):
            for leftover in (fresh, old):
                if leftover.exists():
                    shutil.rmtree(leftover)
            try:
                fresh.mkdir(parents=True)
                write_synced(fresh / _MARKER, _MARKER_TEXT)
                write_synced(fresh / self.config_path.name, config)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            if folder.exists():
                os.rename(folder, old)
            os.rename(fresh, folder)
            sync_folder(folder.parent)
            if old.exists():
                shutil.rmtree(old)


def find_run(exp: Path, doc: str | None) -> Run:
    """Return an existing run: the named one, else the experiment's only or newest one.

    :raises UserError: if there is none, naming those that exist
    """
    runs = list_runs(exp)
    if doc is None:
        if not runs:
            raise UserError(f"{exp / 'logs'}: no run here; check `exp`, or train one first")
        return max(runs, key=_last_change)
    run = Run.at(exp, doc)
    if not run.config_path.is_file():
        existing = ", ".join(other.doc for other in runs) or "none"
        raise UserError(f"{run.log_folder}: no such run; the runs of {exp} are: {existing}")
    return run


def samples_folder(exp: Path, image_folder: str) -> Path:
    """Return ``exp/image_samples/image_folder``, which need not exist.

    :raises UserError: if the name leads out of the experiment folder
    """
    return _inside(exp / "image_samples", image_folder, "image_folder")


def _inside(base: Path, name: str, option: str) -> Path:
    """``base/name``, if the name is a plain one and no link leads elsewhere."""
    folder = base / name
    parts = folder.parts[len(base.parts) :]
    plain = (
        parts
        and name.isprintable()  # keeps messages on one line, and NUL from the file system
        and not any(part.startswith(".") for part in parts)  # "..", and hidden neighbours
        and not name.startswith("/")
        and len(os.fsencode(name)) <= _LONGEST_NAME
    )
    if not plain:
        raise UserError(f"`{option}` {name[:80]!r}: give a short, plain name such as c10")
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(base)):
        raise UserError(
            f"`{option}` {name}: a link there leads out of {base}; choose another name"
        )
    return folder


def _sign(file: TextIO) -> None:
    """Write into a lock which process holds it."""
    since, command = f"{datetime.now():%Y-%m-%d %H:%M:%S}", " ".join(sys.argv)[:80]
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})")
    file.flush()


def _holder(file: TextIO) -> str:
    file.seek(0)
    return " ".join(file.read(200).split()) or "another process"  # locked, but not yet signed


def list_runs(exp: Path) -> list[Run]:
    """Return the runs of an experiment folder by name; none where there is no such folder."""
    logs = exp / "logs"
    docs = sorted(path.parent.relative_to(logs) for path in logs.rglob("config.yml"))
    return [
        Run(exp, str(doc))
        for doc in docs
        if doc.parts and not any(part.startswith(".") for part in doc.parts)
    ]


def _last_change(run: Run) -> float:
    files = [run.config_path, run.metrics_path]  # the second grows with every step
    return max(file.stat().st_mtime for file in files if file.exists())
