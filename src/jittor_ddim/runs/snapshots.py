"""The snapshots of a run: when they are due, and their writing while training goes on."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import TracebackType

from jittor_ddim.checkpoints.native import Checkpoint, save_checkpoint
from jittor_ddim.config import TrainingConfig

_log = logging.getLogger(__name__)


class Snapshots:
    """Saves a run's checkpoints in a thread, one after the other; at its exit all are saved.

    A checkpoint's arrays stay in memory until they are on the disk, and there is never more than
    one set of them.

    :ivar taken: how many there were
    """

    def __init__(
        self,
        log_folder: Path,
        training: TrainingConfig,
        last_step: int,
        before: Path | None = None,
    ) -> None:
        """Write nothing yet.

        :param before: the checkpoint that the run goes on from
        """
        self._log_folder, self._training, self._last_step = log_folder, training, last_step
        self._taken_at, self.taken = time.monotonic(), 0
        self._writing: Thread | None = None
        self._error: Exception | None = None
        self._saved = before

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second Ctrl-C ends the run at once, also where the disk hangs: a checkpoint that is
        # not whole does no harm.
        if kind is None or issubclass(kind, Exception):
            self.newest()

    def are_due(self, step: int) -> bool:
        """Tell whether to take one after a step: by steps, by minutes, and at the end."""
        every, minutes = self._training.snapshot_freq, self._training.snapshot_minutes
        waited = time.monotonic() - self._taken_at
        late = minutes is not None and waited >= 60 * minutes
        return late or step % every == 0 or step == self._last_step

    def take(self, make: Callable[[], Checkpoint]) -> None:
        """Wait for the checkpoint before, then make one and begin to write it.

        :param make: returns a checkpoint whose arrays nothing changes any more
        :raises MachineError: if the one before could not be written
        """
        self.wait()
        self._writing = Thread(None, self._write, "snapshot", (make(),), daemon=True)
        self._writing.start()
        self._taken_at, self.taken = time.monotonic(), self.taken + 1

    def are_writing(self) -> bool:
        """Tell whether a checkpoint is being written, and fail if one could not be.

        :raises MachineError: if the disk is full or read-only
        """
        if self._writing and not self._writing.is_alive():
            self.wait()
        return self._writing is not None

    def wait(self) -> Path | None:
        """Return the newest checkpoint once it is complete, or None if there is none.

        :raises MachineError: if it could not be written
        """
        if self._writing:
            self._writing.join()
        error, self._writing, self._error = self._error, None, None
        if error:
            raise error
        return self._saved

    def newest(self) -> Path | None:
        """Return the newest complete one, of a run that ends anyway; a full disk is logged."""
        try:
            return self.wait()
        except Exception as error:
            _log.error("%s", error)
            return self._saved

    def _write(self, checkpoint: Checkpoint) -> None:
        try:
            self._saved = save_checkpoint(self._log_folder, checkpoint, self._training.keep_last)
        except Exception as error:  # raised where somebody asks
            self._error = error
