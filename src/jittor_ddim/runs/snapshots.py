"""The snapshots of a run: when they are due, and their writing while training goes on."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from jittor_ddim.checkpoints.native import Checkpoint, save_checkpoint
from jittor_ddim.config import TrainingConfig


class Snapshots:
    """Saves a run's checkpoints in a thread, one after the other; at its exit all are saved.

    A checkpoint's arrays stay in memory until they are on the disk, and there is never more than
    one set of them.

    :ivar taken: how many there were
    """

    def __init__(self, log_folder: Path, training: TrainingConfig, last_step: int) -> None:
        """Write nothing yet."""
        self._log_folder, self._training, self._last_step = log_folder, training, last_step
        self._taken_at, self.taken = time.monotonic(), 0
        self._thread = ThreadPoolExecutor(1, "snapshots")
        self._writing: Future[Path] | None = None
        self._saved: Path | None = None

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()

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
        checkpoint, keep = make(), self._training.keep_last
        self._writing = self._thread.submit(save_checkpoint, self._log_folder, checkpoint, keep)
        self._taken_at, self.taken = time.monotonic(), self.taken + 1

    def check(self) -> None:
        """Wait for nothing, and fail if a checkpoint could not be written.

        :raises MachineError: if the disk is full or read-only
        """
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> Path | None:
        """Return the newest checkpoint once it is complete, or None if none was taken.

        :raises MachineError: if it could not be written
        """
        writing, self._writing = self._writing, None
        if writing:
            self._saved = writing.result()
        return self._saved
