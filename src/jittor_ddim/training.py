"""The training loop, written once for all engines.

It computes and saves checkpoints; its observer decides what is shown.
"""

import logging
import math
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import not_finite
from jittor_ddim.averaging import remark_on_start, with_rate
from jittor_ddim.checkpoints.native import Checkpoint
from jittor_ddim.config import Config
from jittor_ddim.data import ImageArray
from jittor_ddim.data.loader import Batch, batches, rows_of, steps_per_epoch
from jittor_ddim.engines.base import Engine, Trainer, Weights
from jittor_ddim.engines.together import spread_and_signal
from jittor_ddim.errors import DivergedError, Interrupted, NotFiniteError, OtherRankError
from jittor_ddim.guidance import Classes
from jittor_ddim.hardware import Meter
from jittor_ddim.runs.snapshots import Snapshots
from jittor_ddim.sampling import SamplerSettings, sample_images
from jittor_ddim.signals import collect_stop_signals
from jittor_ddim.stopwatch import StepWatch
from jittor_ddim.validation import validate, warn_of_mean_error
from jittor_ddim.version import versions

_PREVIEW_IMAGES = 16
_PREVIEW_STEPS = 20
_ADVICE = "Try a smaller optim.lr, or set optim.grad_clip to 1.0"

_LINE = (
    "[Epoch %(epoch)d] Step: %(step)d, Loss: %(loss_per_element).6f, Step Time: %(step_time_s).3fs"
)

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Receives what happens in a run."""

    def step(self, record: dict[str, Any]) -> None:
        """Take the numbers of a finished step, by the keys of ``metrics.jsonl``."""
        ...

    def preview(self, step: int, pixels: NDArray[np.uint8]) -> None:
        """Take EMA samples of a snapshot, uint8 (N, H, W, C), always from the same noise."""
        ...


@dataclass(frozen=True)
class Images:
    """What a run learns from and is judged by, uint8 (N, H, W, C) each.

    :ivar labels: (N,), of the images to learn from, where the data set has them
    :ivar held_out_labels: likewise, of the others
    """

    train: ImageArray
    held_out: ImageArray
    labels: NDArray[np.int64] | None = None
    held_out_labels: NDArray[np.int64] | None = None


def train(
    config: Config,
    engine: Engine,
    images: Images,
    log_folder: Path,
    observer: Observer | None,
    *,
    seed: int,
    resume: Checkpoint | None = None,
    start: Weights | None = None,
) -> Path:
    """Train until ``n_epochs`` or ``n_iters``, whichever comes first, and return the checkpoint.

    Of several ranks (``engine.rank``) each learns from its rows of every batch. The first alone
    validates, saves and observes; the others return the folder of the checkpoints.

    :param log_folder: where the checkpoints go
    :param observer: None on ranks other than the first
    :param seed: of weights, shuffling, noise and dropout; ignored when resuming
    :param resume: the checkpoint to continue exactly
    :param start: the weights of a new run; None: fresh ones
    :raises DivergedError: if the loss is not finite
    :raises Interrupted: after SIGINT, SIGTERM or SIGUSR1, to any rank, once a checkpoint is saved
    :raises OtherRankError: on ranks other than the first, where that raises one of these
    """
    seed = resume.seed if resume else seed
    last_step = total_steps(config, len(images.train))
    trainer = make_trainer(config, engine, seed, resume, start, last_step)
    meter, rank = make_meter(engine), engine.rank
    before = log_folder / f"ckpt_{resume.step}" if resume else None
    snapshots = Snapshots(log_folder, config.training, last_step, before)
    finished = time.perf_counter()

    first_step, signalled = trainer.steps_done + 1, []
    rows = rows_of(config, rank.index, rank.size)
    feed = batches(images.train, config, seed, first_step, rows, images.labels)
    with collect_stop_signals() as stop, closing(feed), snapshots, StepWatch().running() as watch:
        for step in range(first_step, last_step + 1):
            beside = {"pause_time_s": time.perf_counter() - finished}
            beside["saving"] = int(snapshots.are_writing())
            batch = next(feed)
            record = take_step(trainer, batch, config, watch, meter) | beside
            finished = time.perf_counter()
            if not rank.is_alone:
                spread, signalled = spread_and_signal(engine, record, stop[:1])
                record |= spread
            diverged = not (math.isfinite(record["loss"]) and math.isfinite(trainer.grad_norm))
            if observer is None:
                _end_with_first(engine, diverged, signalled)
                continue
            if diverged:
                good = snapshots.newest()
                _meet_at_end(engine)
                raise _diverged(step, record["loss"], trainer.grad_norm, good)
            if step % config.training.validation_freq == 0 or step == last_step:
                record |= validate(trainer, images.held_out, images.held_out_labels, config)
            if step == last_step:
                warn_of_mean_error(step, record.get("validation_mean_error", 0.0))
            observer.step(record)
            _log.info(_LINE, record)
            if rank.is_alone:
                signalled = stop[:1]  # one that arrives from here on ends the next step
            if signalled or snapshots.are_due(step):
                snapshots.take(partial(make_checkpoint, trainer, config, engine, seed, batch))
                if signalled:
                    saved = snapshots.wait()
                    _meet_at_end(engine)
                    raise Interrupted(signalled[0], f"stopped at step {step}, saved {saved}")
                if snapshots.taken == 1 and start is None:
                    _warn_of_start(config, step)
                observer.preview(step, _preview(config, engine, trainer, step))
        saved = snapshots.wait()
    if observer and not snapshots.taken:
        raise ValueError("nothing to train: the run has reached its last step")
    return saved if observer and saved else log_folder


def take_step(
    trainer: Trainer, batch: Batch, config: Config, watch: StepWatch, meter: Meter
) -> dict[str, Any]:
    """Take one optimiser step and return its numbers by the keys of ``metrics.jsonl``."""
    loss, times = watch.time(lambda: trainer.learn(*batch.inputs))
    return {
        "step": batch.step,
        "epoch": batch.epoch,
        "loss": loss,
        "loss_per_element": loss / math.prod(config.sample_shape),
        "grad_norm": trainer.grad_norm,
        **({"lr": trainer.lr} if config.optim.lr_varies else {}),
        **times,
        "data_time_s": batch.data_time_s,
        **({"reduce_time_s": trainer.reduce_time_s} if trainer.reduce_time_s else {}),
        "images_per_s": config.training.batch_size / (times["step_time_s"] + batch.data_time_s),
        **meter.read(),
    }


def make_meter(engine: Engine) -> Meter:
    """Return what reads an engine's memory and utilisation."""

    def reserved() -> int | None:
        memory = engine.memory()
        return memory.reserved if memory else None

    return Meter(engine.device, reserved)


def total_steps(config: Config, n_images: int) -> int:
    """Return how many steps a run takes: n_iters or n_epochs, whichever comes first."""
    training = config.training
    return min(
        training.n_iters, training.n_epochs * steps_per_epoch(n_images, training.batch_size)
    )


def preview_settings(config: Config) -> SamplerSettings:
    """Return how a run's previews are sampled; a schedule may not allow it, so check them."""
    steps = min(_PREVIEW_STEPS, config.diffusion.num_diffusion_timesteps)
    return SamplerSettings(timesteps=steps)


def make_trainer(
    config: Config,
    engine: Engine,
    seed: int,
    resume: Checkpoint | None,
    weights: Weights | None = None,
    last_step: int | None = None,
) -> Trainer:
    """Return a trainer that continues a checkpoint, else starts from these or fresh weights.

    :param last_step: of the run, as :func:`total_steps` returns it
    """
    trainer = engine.trainer(config, resume.weights if resume else weights, seed, last_step)
    if resume:
        trainer.restore(resume.ema_weights, resume.optimizer, resume.step)
    return trainer


def make_checkpoint(
    trainer: Trainer, config: Config, engine: Engine, seed: int, batch: Batch
) -> Checkpoint:
    """Return a run's state after a batch.

    :raises DivergedError: if a weight, its average or the optimiser's state is not finite
    """
    weights, average = trainer.weights(), trainer.ema_weights()
    moments = trainer.optimizer_state()
    if any(not_finite(arrays) for arrays in (weights, average or {}, moments)):
        raise DivergedError(f"the weights left the finite numbers at step {batch.step}; {_ADVICE}")
    return Checkpoint(
        step=batch.step,
        epoch=batch.epoch,
        seed=seed,
        config=config,
        weights=weights,
        ema_weights=average,
        optimizer=moments,
        engine=engine.name,
        precision=engine.precision,
        versions={**versions(), **engine.versions()},
    )


def _warn_of_start(config: Config, step: int) -> None:
    remark = remark_on_start(with_rate(config), step) if config.model.ema else None
    if remark:
        advice = "sampling with `weights` raw does without the average"
        if not config.model.ema_warmup:
            advice += ", and with model.ema_warmup: true a new run's forgets the start at once"
        _log.warning("Previews: %s; %s", remark, advice)


def _preview(config: Config, engine: Engine, trainer: Trainer, step: int) -> NDArray[np.uint8]:
    unet = engine.unet(config, trainer.ema_weights() or trainer.weights(), compile=False)
    rows = range(_PREVIEW_IMAGES)
    settings, classes = preview_settings(config), Classes.every(config)
    images = sample_images(unet, config, settings, rows, len(rows), classes)
    try:
        return np.stack(list(images))
    except NotFiniteError as error:
        raise DivergedError(f"preview at step {step}: {error}. {_ADVICE}") from None


def _end_with_first(engine: Engine, diverged: bool, signalled: list[int]) -> None:
    """End a rank where the first one ends and says why."""
    if diverged or signalled:
        _meet_at_end(engine)
        raise OtherRankError(1 if diverged else 128 + signalled[0])


def _meet_at_end(engine: Engine) -> None:
    """Let no rank end before the first has saved: launchers end all when one has ended."""
    if not engine.rank.is_alone:
        engine.gather([0])


def _diverged(step: int, loss: float, grad_norm: float, good: Path | None) -> DivergedError:
    saved = f"the last good checkpoint is {good}" if good else "nothing was saved yet"
    return DivergedError(
        f"the loss became {loss:g} and the gradient norm {grad_norm:g} at step {step}; {saved}. "
        f"{_ADVICE}"
    )
