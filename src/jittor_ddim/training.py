"""The training loop, written once for all engines.

It computes and saves checkpoints; its observer decides what is shown.
"""

import logging
import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import not_finite
from jittor_ddim.averaging import remark_on_start, with_rate
from jittor_ddim.checkpoints.native import Checkpoint, save_checkpoint
from jittor_ddim.config import Config
from jittor_ddim.data.loader import Batch, batches, steps_per_epoch, validation_batches
from jittor_ddim.diffusion.parametrization import make_example, x0_and_eps
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.engines.base import Engine, Trainer, Weights
from jittor_ddim.errors import DivergedError, Interrupted, NotFiniteError
from jittor_ddim.hardware import Meter
from jittor_ddim.sampling import SamplerSettings, sample_images
from jittor_ddim.signals import collect_stop_signals
from jittor_ddim.stopwatch import StepWatch
from jittor_ddim.version import versions

#: Validation uses at most this many images: at the CIFAR-10 size a minute on two cores.
_VALIDATION_IMAGES = 1024
#: The error of the mean needs no more: of 128 images it is known to about a tenth.
_MEAN_ERROR_IMAGES = 128
#: A network with more of it, after so many steps, cannot tell an image's brightness.
_MEAN_ERROR_LIMIT, _MEAN_ERROR_STEPS = 0.9, 1000
_PREVIEW_IMAGES = 16
_PREVIEW_STEPS = 20
_ADVICE = "Try a smaller optim.lr, or set optim.grad_clip to 1.0"

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
    """

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None


def train(
    config: Config,
    engine: Engine,
    images: Images,
    log_folder: Path,
    observer: Observer,
    *,
    seed: int,
    resume: Checkpoint | None = None,
) -> Path:
    """Train until ``n_epochs`` or ``n_iters``, whichever comes first, and return the checkpoint.

    :param log_folder: where the checkpoints go
    :param seed: of weights, shuffling, noise and dropout; ignored when resuming
    :param resume: the checkpoint to continue exactly
    :raises DivergedError: if the loss is not finite
    :raises Interrupted: after SIGINT or SIGTERM, once a checkpoint is saved
    """
    seed = resume.seed if resume else seed
    last_step = total_steps(config, len(images.train))
    trainer = make_trainer(config, engine, seed, resume, last_step=last_step)
    meter = make_meter(engine)
    saved: Path | None = None
    finished = time.perf_counter()

    def save(batch: Batch) -> Path:
        state = make_checkpoint(trainer, config, engine, seed, batch)
        return save_checkpoint(log_folder, state, config.training.keep_last)

    first_step = trainer.steps_done + 1
    with (
        collect_stop_signals() as stop,
        closing(batches(images.train, config, seed, first_step, labels=images.labels)) as stream,
        StepWatch().running() as watch,
    ):
        for step in range(first_step, last_step + 1):
            pause = time.perf_counter() - finished
            batch = next(stream)
            record = take_step(trainer, batch, config, watch, meter) | {"pause_time_s": pause}
            finished = time.perf_counter()
            if not (math.isfinite(record["loss"]) and math.isfinite(trainer.grad_norm)):
                good = saved or (log_folder / f"ckpt_{resume.step}" if resume else None)
                raise _diverged(step, record["loss"], trainer.grad_norm, good)
            if step % config.training.validation_freq == 0 or step == last_step:
                record |= _validate(trainer, images.held_out, config)
            if step == last_step:
                _warn_of_mean_error(step, record["validation_mean_error"])
            observer.step(record)
            _log.info(
                "[Epoch %(epoch)d] Step: %(step)d, Loss: %(loss_per_element).6f, "
                "Step Time: %(step_time_s).3fs",
                record,
            )
            signalled = stop[:1]  # one that arrives from here on ends the next step
            if signalled or step == last_step or step % config.training.snapshot_freq == 0:
                first, saved = saved is None, save(batch)
                if signalled:
                    raise Interrupted(signalled[0], f"stopped at step {step}, saved {saved}")
                if first:
                    _warn_of_start(config, step)
                observer.preview(step, _preview(config, engine, trainer, step))
    if saved is None:
        raise ValueError("nothing to train: the run has reached its last step")
    return saved


def take_step(
    trainer: Trainer, batch: Batch, config: Config, watch: StepWatch, meter: Meter
) -> dict[str, Any]:
    """Take one optimiser step and return its numbers by the keys of ``metrics.jsonl``."""
    loss, times = watch.time(lambda: trainer.learn(batch.x_t, batch.t, batch.target))
    return {
        "step": batch.step,
        "epoch": batch.epoch,
        "loss": loss,
        "loss_per_element": loss / math.prod(config.sample_shape),
        "grad_norm": trainer.grad_norm,
        **({"lr": trainer.lr} if config.optim.lr_varies else {}),
        **times,
        "data_time_s": batch.data_time_s,
        "images_per_s": len(batch.t) / (times["step_time_s"] + batch.data_time_s),
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
        versions={**versions(), **engine.versions()},
    )


def _validate(trainer: Trainer, held_out: NDArray[np.uint8], config: Config) -> dict[str, float]:
    """Return the loss on held-out images with noise that never changes, so that steps compare.

    And the error of the mean: at t = T-1, the error of the predicted noise's mean over the mean
    of the noise itself. Means are over the pixels of each channel; of both the root mean square
    is taken. About 1 says that the network cannot tell the mean, and samples get brightness and
    colour at random: divided by sqrt(alpha_bar), little noise is much of x0. The loss hides it
    among the pixels. A network that predicts x0 or v is taken at the noise that this stands for.
    """
    schedule, prediction = Schedule.from_config(config.diffusion), config.diffusion.prediction
    last = config.diffusion.num_diffusion_timesteps - 1
    total, count = 0.0, 0
    errors, means = [], []
    for x0, t, eps in validation_batches(
        held_out, config, config.training.batch_size, _VALIDATION_IMAGES
    ):
        total += trainer.loss(*make_example(schedule, x0, t, eps, prediction)) * len(x0)
        if count < _MEAN_ERROR_IMAGES:
            x_last, t_last, _ = make_example(schedule, x0, np.full_like(t, last), eps)
            output = trainer.predict(x_last, t_last)
            _, eps_pred = x0_and_eps(prediction, output, x_last, schedule.alpha_bar_at(last))
            errors.append(np.mean(eps_pred - eps, axis=(2, 3), dtype=np.float64))
            means.append(np.mean(eps, axis=(2, 3), dtype=np.float64))
        count += len(x0)
    loss = total / count
    per_element = loss / math.prod(config.sample_shape)
    error, mean = (np.square(np.concatenate(x)).mean() ** 0.5 for x in (errors, means))
    mean_error = float(error / mean)
    _log.info("Validation loss: %.6f, error of the mean: %.2f", per_element, mean_error)
    return {
        "validation_loss": loss,
        "validation_loss_per_element": per_element,
        "validation_mean_error": mean_error,
    }


def _warn_of_mean_error(steps: int, mean_error: float) -> None:
    if steps >= _MEAN_ERROR_STEPS and mean_error > _MEAN_ERROR_LIMIT:
        _log.warning(
            "After %d steps the network cannot tell an image's mean (validation_mean_error %.2f): "
            "samples get brightness and colour at random; train longer, and give each group of "
            "model.num_groups several channels",
            steps,
            mean_error,
        )


def _warn_of_start(config: Config, step: int) -> None:
    remark = remark_on_start(with_rate(config), step) if config.model.ema else None
    if remark:
        _log.warning(
            "Previews: %s; ddim sample --weights raw does without the average, and with "
            "model.ema_warmup: true a new run's forgets the start at once",
            remark,
        )


def _preview(config: Config, engine: Engine, trainer: Trainer, step: int) -> NDArray[np.uint8]:
    unet = engine.unet(config, trainer.ema_weights() or trainer.weights(), compile=False)
    rows = range(_PREVIEW_IMAGES)
    images = sample_images(unet, config, preview_settings(config), rows, len(rows))
    try:
        return np.stack(list(images))
    except NotFiniteError as error:
        raise DivergedError(f"preview at step {step}: {error}. {_ADVICE}") from None


def _diverged(step: int, loss: float, grad_norm: float, good: Path | None) -> DivergedError:
    saved = f"the last good checkpoint is {good}" if good else "nothing was saved yet"
    return DivergedError(
        f"the loss became {loss:g} and the gradient norm {grad_norm:g} at step {step}; {saved}. "
        f"{_ADVICE}"
    )
