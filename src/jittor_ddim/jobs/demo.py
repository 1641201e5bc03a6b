"""From nothing to images: show a model that ships, train one, judge it, and put all on a page."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.architecture import count_parameters
from jittor_ddim.checkpoints.native import load_checkpoint, newest_checkpoint
from jittor_ddim.config import Config
from jittor_ddim.demo import recipe
from jittor_ddim.demo.judge import Judge
from jittor_ddim.demo.pictures import draw, draw_real
from jittor_ddim.demo.results import Demo, Judged, Pictures, Shipped, Training
from jittor_ddim.engines import ENGINES, Engine, describe_engine
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.guidance import Classes
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.models import read_card
from jittor_ddim.network import NetworkChoice
from jittor_ddim.runs.folder import Run, samples_folder
from jittor_ddim.runs.metrics_log import read_columns
from jittor_ddim.sampling import SamplerSettings, sample_images

#: What a step takes, by the keys of ``metrics.jsonl``.
_TIMES = ("step_time_s", "data_time_s", "pause_time_s")


@dataclass(frozen=True)
class DemoRequest:
    """What ``ddim demo`` was asked for."""

    exp: Path
    seed: int
    engine: EngineChoice
    language: str = "en"  # of the page
    verbose: str = "warning"
    tell: Callable[[str], None] = lambda text: None  # hears what there is already


def run_demo(request: DemoRequest) -> dict[str, Any]:
    """Make everything in ``exp`` and return where it is.

    A run in ``exp/logs/demo`` with the same recipe, seed and engine goes on where it was stopped;
    any other is replaced.

    :returns: the files made, the seconds it took, and the judge's verdict
    :raises UserError: for a wrong engine or language, before anything is computed
    """
    # Not at the top: matplotlib would slow down the start of other commands.
    from jittor_ddim.demo.report import check_language, write_report

    started = time.monotonic()
    check_language(request.language)
    request.engine.check()
    engine = request.engine.start()
    shipped = _show(request, engine)
    request.tell(
        f"Drawn by {shipped.name}, a model that ships: {shipped.pictures.grid} and "
        f"{shipped.pictures.animation}\nNow a network learns handwritten digits, for minutes …"
    )
    checkpoint = _train(request, engine)
    request.tell("Sampling and judging …")
    network = NetworkChoice(exp=request.exp, doc=recipe.DOC).find_network()
    unet, judge = engine.unet(network.config, network.weights), Judge()
    demo = Demo(
        folder=request.exp,
        shipped=shipped,
        training=_training(request, network.config),
        sampling=recipe.SAMPLING.options(),
        real=draw_real(samples_folder(request.exp, "real") / "grid.png"),
        real_reading=judge.real,
        samples=_draw(request, unet, network.config),
        judged=tuple(_judge(judge, unet, network.config, request.seed)),
    )
    page = write_report(demo, request.exp / "index.html", request.language)
    return {
        "page": str(page),
        "samples": str(demo.samples.grid),
        "animation": str(demo.samples.animation),
        "checkpoint": str(checkpoint),
        "seconds": round(time.monotonic() - started, 1),
        "real": asdict(demo.real_reading),
        "verdict": asdict(demo.verdict),
        "judged": [asdict(one) for one in demo.judged],
    }


def _show(request: DemoRequest, engine: Engine) -> Shipped:
    """Draw with the model that ships."""
    card = read_card(recipe.MODEL)
    network = NetworkChoice(model=recipe.MODEL).find_network()
    folder = samples_folder(request.exp, recipe.MODEL)
    sampling, unet = card.facts.sampling, engine.unet(network.config, network.weights)
    pictures = draw(unet, network.config, sampling, request.seed, folder)
    return Shipped(card.name, card.facts.draws, card.parameters, sampling.options(), pictures)


def _train(request: DemoRequest, engine: Engine) -> Path:
    """Train, or go on; return the last checkpoint."""
    config, run = recipe.recipe(), Run.at(request.exp, recipe.DOC)
    resume = False
    if (newest := newest_checkpoint(run.log_folder)) is not None:
        found = load_checkpoint(run.log_folder)
        made_by = (found.config, found.seed, found.engine)
        resume = made_by == (config, request.seed, engine.name)
        if resume and found.step >= config.training.n_iters:
            return newest
    return run_training(
        TrainRequest(
            config,
            request.exp,
            recipe.DOC,
            seed=request.seed,
            resume=resume,
            verbose=request.verbose,
            engine=request.engine,
            comment="ddim demo",
        )
    )


def _draw(request: DemoRequest, unet: UNet, config: Config) -> Pictures:
    folder = samples_folder(request.exp, recipe.DOC)
    return draw(unet, config, recipe.SAMPLING, request.seed, folder)


def _training(request: DemoRequest, config: Config) -> Training:
    """Read from the run's log how it went."""
    columns = read_columns(Run.at(request.exp, recipe.DOC).metrics_path)
    name = request.engine.name
    changes = " ".join(f"--set {key}={value}" for key, value in recipe.CHANGES.items())
    return Training(
        command=f"ddim train --config {recipe.CONFIG} {changes} --doc digits --engine {name} "
        f"--seed {request.seed}",
        engine=describe_engine(name).title,
        engine_option="" if name == ENGINES[0] else f" --engine {name}",
        parameters=count_parameters(config),
        batch_size=config.training.batch_size,
        seconds=float(sum(np.nansum(columns[key]) for key in _TIMES)),
        steps=columns["step"],
        loss=columns["loss_per_element"],
        validation=columns["validation_loss_per_element"],
    )


def _judge(judge: Judge, unet: UNet, config: Config, seed: int) -> list[Judged]:
    """Judge samples of every sampler with few and with many network calls."""
    classes = Classes(tuple(range(10)), recipe.SAMPLING.guidance)
    rows, found = range(recipe.JUDGED), []
    labels = np.arange(recipe.JUDGED) % 10
    for sampler, spacing in recipe.SAMPLERS.items():
        for calls in recipe.CALLS:
            settings = SamplerSettings(calls, spacing=spacing, sampler=sampler, seed=seed)
            images = sample_images(unet, config, settings, rows, len(rows), classes)
            reading, distance = judge.judge(np.stack(list(images)), labels)
            found.append(Judged(sampler, calls, reading, distance))
    return found
