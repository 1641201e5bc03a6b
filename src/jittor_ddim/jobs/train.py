"""Train a network in an experiment folder."""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from jittor_ddim.checkpoints.native import Checkpoint, load_checkpoint
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.console.progress import decoding, progress
from jittor_ddim.data import ImageSet, Split, open_images
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.network import starting_weights
from jittor_ddim.runs.folder import Run
from jittor_ddim.runs.recorder import Recorder
from jittor_ddim.training import Images, preview_settings, total_steps, train

DEFAULT_SEED = 1234
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainRequest:
    """What ``ddim train`` was asked for."""

    config: Config
    exp: Path
    doc: str
    seed: int | None = None  # None: 1234, or that of the run to go on with
    resume: bool = False
    init: Path | None = None  # weights to start from; None: fresh ones
    ask: Callable[[str], bool] | None = None  # None: overwrite without asking
    comment: str = ""
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def run_training(request: TrainRequest) -> Path:
    """Train, or go on training, and return the last checkpoint.

    Nothing of an existing run is replaced before the images and the engine are there.

    :raises UserError: for anything wrong with the request
    """
    request.engine.check()
    preview_settings(request.config).sequence(request.config)
    run = Run.at(request.exp, request.doc)
    setup_logging(None, request.verbose)
    if request.init and request.resume:
        raise UserError("`init` starts a new run; leave out `init` or `resume_training`")
    start = starting_weights(request.config, request.init) if request.init else None
    with run.lock():
        run.check(request.config, resume=request.resume, ask=request.ask)
        checkpoint = load_checkpoint(run.log_folder) if request.resume else None
        images, config = _open(request.config, request.exp)
        last_step = _last_step(config, len(images.train))
        if checkpoint and checkpoint.step >= last_step:
            raise UserError(
                f"{run.log_folder}: finished at step {checkpoint.step}; raise training.n_iters or "
                "training.n_epochs to continue"
            )
        engine = request.engine.start()
        if request.engine.compile and engine.device == "cpu":
            raise UserError("`compile`: training is compiled only on a GPU; leave it out")
        run.create(config, resume=request.resume)
        setup_logging(run.stdout_path, request.verbose)
        _introduce(request, run, checkpoint)
        done = checkpoint.step if checkpoint else 0
        with (
            progress(last_step, f"Training {request.doc}", start=done) as bar,
            closing(
                Recorder(
                    run.metrics_path,
                    run.tensorboard_folder,
                    checkpoint.step if checkpoint else None,
                    bar,
                )
            ) as recorder,
        ):
            saved = train(
                config,
                engine,
                images,
                run.log_folder,
                recorder,
                seed=DEFAULT_SEED if request.seed is None else request.seed,
                resume=checkpoint,
                start=start,
            )
    _log.info("Training finished: %s", saved)
    return saved


def _last_step(config: Config, n_images: int) -> int:
    last_step = total_steps(config, n_images)
    if config.optim.warmup_steps >= last_step > 1:
        raise UserError(
            f"optim.warmup_steps ({config.optim.warmup_steps}) must be less than the run's "
            f"{last_step} steps; lower it, or raise training.n_iters and training.n_epochs"
        )
    return last_step


def _open(config: Config, exp: Path) -> tuple[Images, Config]:
    """Return the images, and the config with the names of their classes."""

    def split(name: Split) -> ImageSet:
        with decoding(name) as decoded:
            image_set = open_images(config, name, exp, decoded)
        _log.info("Data: %s, %d images", image_set.name, len(image_set.images))
        return image_set

    train, held_out = split("train"), split("test")
    images = Images(train.images, held_out.images, train.labels, held_out.labels)
    return images, _with_class_names(config, train)


def _with_class_names(config: Config, images: ImageSet) -> Config:
    """Return the config with what the classes of the images are called, unless it says so."""
    names, stated = images.class_names, config.data.class_names
    if names is None or len(names) != config.model.num_classes or stated == names:
        return config
    if stated is not None:
        _log.warning(
            "data.class_names: %s, but the images' classes are called %s; is each its own?",
            ", ".join(stated),
            ", ".join(names),
        )
        return config
    data = config.data.model_copy(update={"class_names": names})
    return config.model_copy(update={"data": data})


def _introduce(request: TrainRequest, run: Run, checkpoint: Checkpoint | None) -> None:
    _log.info("Writing log file to %s", run.log_folder)
    _log.info("Exp instance id = %d", os.getpid())
    _log.info("Exp comment = %s", request.comment)
    if request.init:
        _log.info("Starting from the weights of %s", request.init)
    if checkpoint:
        _log.info(
            "Resuming from step %d of a run in %s, seed %d",
            checkpoint.step,
            checkpoint.engine,
            checkpoint.seed,
        )
        if request.seed not in (None, checkpoint.seed):
            _log.warning(
                "`seed` %d is ignored: a resumed run keeps its own, %d",
                request.seed,
                checkpoint.seed,
            )
