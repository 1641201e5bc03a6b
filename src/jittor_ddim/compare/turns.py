"""A training run in blocks of steps, between which the other engines work; it can be resumed."""

import time
from contextlib import ExitStack
from pathlib import Path

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.checkpoints.native import load_checkpoint, newest_checkpoint, save_checkpoint
from jittor_ddim.compare.layout import METRICS, TRAINED
from jittor_ddim.compare.plan import Plan
from jittor_ddim.data import ImageSet
from jittor_ddim.data.loader import Batch, batches
from jittor_ddim.engines.base import Engine, Weights
from jittor_ddim.hardware import Meter
from jittor_ddim.runs.metrics_log import MetricsWriter
from jittor_ddim.stopwatch import StepWatch
from jittor_ddim.training import make_checkpoint, make_trainer, take_step, total_steps

_SAVE_SECONDS = 120.0  # of training between checkpoints, the most that can be lost


class TrainingInTurns:
    """One side's training, where its newest checkpoint left it."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        images: ImageSet,
        start: Weights,
        folder: Path,
        meter: Meter,
    ) -> None:
        """:param start: the weights to start from; not used where there is a checkpoint

        :param folder: the side's own
        """
        self._engine, self._plan, self._folder, self._meter = engine, plan, folder, meter
        newest = newest_checkpoint(folder)
        checkpoint = load_checkpoint(newest) if newest else None
        last_step = total_steps(plan.config, len(images.images))  # of a run, not of the comparison
        self.trainer = make_trainer(plan.config, engine, plan.seed, checkpoint, start, last_step)
        done = checkpoint.step if checkpoint else 0
        self._metrics = MetricsWriter(folder / METRICS, done or None)
        self._watch = StepWatch()
        self._resources = ExitStack()
        self._resources.callback(self._metrics.close)
        self._resources.enter_context(self._watch.running())
        self._stream = batches(
            images.images, plan.config, plan.seed, done + 1, labels=images.labels
        )
        self._resources.callback(self._stream.close)
        self._last_batch: Batch | None = None
        self._saved_at = time.monotonic()
        self._pause = 0.0  # seconds of a checkpoint since the last step
        self._restarting = plan.warmup if done else 0  # steps of another warm-up

    def take(self, first: int, last: int) -> None:
        """Take the next steps.

        :raises RuntimeError: if the first is not the next
        """
        if self.trainer.steps_done != first - 1:
            raise RuntimeError(
                f"training is at step {self.trainer.steps_done}, not at {first - 1}"
            )
        # The meter averages since it was last read, and until now another engine was running.
        self._meter.read()
        for _ in range(first, last + 1):
            self._last_batch = next(self._stream)
            record = take_step(
                self.trainer, self._last_batch, self._plan.config, self._watch, self._meter
            )
            record["pause_time_s"] = self._pause
            if self._restarting:
                record["restarting"] = 1  # it compiles or loads its kernels again
            self._metrics.write(record)
            self._pause = 0.0
            self._restarting = max(0, self._restarting - 1)

    def save(self) -> None:
        """Save a checkpoint if the last one is old; after the last step also the weights."""
        batch, start = self._last_batch, time.monotonic()
        if batch is None:
            return
        if batch.step == self._plan.steps:  # before the checkpoint, after which no step comes
            save_weights(self._folder / TRAINED, self.trainer.weights(), self._plan.config)
        elif start - self._saved_at <= _SAVE_SECONDS:
            return
        plan = self._plan
        state = make_checkpoint(self.trainer, plan.config, self._engine, plan.seed, batch)
        save_checkpoint(self._folder, state, keep_last=1)
        self._saved_at = time.monotonic()
        self._pause = self._saved_at - start

    def close(self) -> None:
        """Close workers and files."""
        self._resources.close()
