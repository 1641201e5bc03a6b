"""Train a network in an experiment folder."""

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jittor_ddim.checkpoints.native import (
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    newest_checkpoint,
)
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.console.progress import decoding, progress
from jittor_ddim.data import ImageSet, Split, open_images
from jittor_ddim.data.loader import rows_of
from jittor_ddim.engines import Engine
from jittor_ddim.engines.base import Weights
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.engines.together import agree
from jittor_ddim.errors import UserError, naming_rank
from jittor_ddim.network import starting_weights
from jittor_ddim.ranks import Rank, is_restartable, this_rank
from jittor_ddim.runs.folder import Run
from jittor_ddim.runs.recorder import Recorder
from jittor_ddim.training import Images, Observer, preview_settings, total_steps, train
from jittor_ddim.version import code_digest, versions

DEFAULT_SEED = 1234
_LOOKED_AT = 16  # images by which ranks see that they have the same
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
    rank = this_rank()
    request.engine.check()
    request.engine.check_launcher(rank)
    run = Run.at(request.exp, request.doc)
    setup_logging(None, request.verbose if rank.is_first else "error")
    if rank.is_alone:
        with run.lock():
            work = _prepare(request, run)
            return _train(request, run, work, _start(request))
    engine = _start(request)
    engine.meet(rank)
    with ExitStack() as held:
        work, seen, failure = None, None, None
        try:
            if rank.is_first:
                held.enter_context(run.lock())
            work = _prepare(request, run, rank)
            seen = _look_at(work.images)  # one that is damaged is this rank's failure
        except UserError as error:
            failure = error
        agree(engine, {**_same(request, engine, work), "content of the images": seen}, failure)
        assert work is not None  # or this rank would have failed
        # From here on a mistake, such as a damaged image of a stream, is one rank's alone.
        with naming_rank(rank.index):
            return _train(request, run, work, engine)


@dataclass(frozen=True)
class _Work:
    """What a run starts from."""

    config: Config  # with what the images tell
    checkpoint: Checkpoint | None
    start: Weights | None
    images: Images
    last_step: int

    @property
    def is_done(self) -> bool:
        """Whether no step is left."""
        return self.checkpoint is not None and self.checkpoint.step >= self.last_step


def _prepare(request: TrainRequest, run: Run, rank: Rank | None = None) -> _Work:
    """Read what the run starts from, and touch nothing."""
    rank = rank or Rank()
    preview_settings(request.config).sequence(request.config)
    rows_of(request.config, rank.index, rank.size)
    if request.init and request.resume:
        raise UserError("`init` starts a new run; leave out `init` or `resume_training`")
    start = starting_weights(request.config, request.init) if request.init else None
    resume = _resumes(request, run)
    if rank.is_first:
        run.check(request.config, resume=resume, ask=request.ask)
    checkpoint = load_checkpoint(run.log_folder) if resume else None
    images, config = _open(request.config, request.exp)
    last_step = _last_step(config, len(images.train))
    work = _Work(config, checkpoint, start, images, last_step)
    # A launcher that starts a run again cannot know that it had finished.
    if checkpoint and work.is_done and not is_restartable():
        raise UserError(
            f"{run.log_folder}: finished at step {checkpoint.step}; raise training.n_iters or "
            "training.n_epochs to continue"
        )
    return work


def _resumes(request: TrainRequest, run: Run) -> bool:
    """Whether to go on with a run: asked for, or started again by the launcher."""
    again = is_restartable() and newest_checkpoint(run.log_folder) is not None
    return request.resume or again


def _start(request: TrainRequest) -> Engine:
    engine = request.engine.start()
    if request.engine.compile and engine.device == "cpu":
        raise UserError("`compile`: training is compiled only on a GPU; leave it out")
    return engine


def _same(request: TrainRequest, engine: Engine, work: _Work | None) -> dict[str, object]:
    """Return what ranks must have in common, by its name."""
    before = work.checkpoint if work else None
    weights = (before.weights if before else work.start if work else None) or {}
    return {
        "config": request.config.to_yaml(),
        "version of code or libraries": sorted({**versions(), **engine.versions()}.items()),
        "state of the code": code_digest(),
        "engine, device or precision": (engine.name, engine.device, engine.precision),
        "`seed` or checkpoint": before and (before.step, before.seed) or request.seed,
        "start": [(name, weights[name].sum(dtype="float64")) for name in sorted(weights)],
        "set of images": work and (work.images.train.shape, work.images.held_out.shape),
    }


def _look_at(images: Images) -> str:
    """Return what tells these images from as many others of the same size, by a few of them."""
    count = len(images.train)
    rows = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64))
    digest = hashlib.sha256(np.ascontiguousarray(images.train[rows]).tobytes())
    if images.labels is not None:
        digest.update(images.labels.tobytes())
    return digest.hexdigest()


def _train(request: TrainRequest, run: Run, work: _Work, engine: Engine) -> Path:
    if work.is_done:
        last = find_checkpoint(run.log_folder)
        _log.info("%s: the run was started again and had finished; nothing to do", last)
        return last
    seed = DEFAULT_SEED if request.seed is None else request.seed

    def learn(observer: Observer | None) -> Path:
        return train(
            work.config,
            engine,
            work.images,
            run.log_folder,
            observer,
            seed=seed,
            resume=work.checkpoint,
            start=work.start,
        )

    if not engine.rank.is_first:
        return learn(None)
    done = work.checkpoint.step if work.checkpoint else None
    run.create(work.config, resume=done is not None)
    setup_logging(run.stdout_path, request.verbose)
    _introduce(request, run, work.checkpoint, engine)
    with (
        progress(work.last_step, f"Training {request.doc}", start=done or 0) as bar,
        closing(Recorder(run.metrics_path, run.tensorboard_folder, done, bar)) as recorder,
    ):
        saved = learn(recorder)
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


def _introduce(
    request: TrainRequest, run: Run, checkpoint: Checkpoint | None, engine: Engine
) -> None:
    _log.info("Writing log file to %s", run.log_folder)
    _log.info("Exp instance id = %d", os.getpid())
    _log.info("Exp comment = %s", request.comment)
    if not engine.rank.is_alone:
        _log.info("%d ranks, started by %s", engine.rank.size, engine.rank.launcher)
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
        if checkpoint.precision not in (None, engine.precision):
            _log.warning(
                "Until here the run computed in %s, from here in %s; `precision` chooses",
                checkpoint.precision,
                engine.precision,
            )
