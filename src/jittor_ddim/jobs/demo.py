"""From nothing to generated images: train on the digits, sample, animate, plot and judge."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.config import load_config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.jobs.judge import judge_digits
from jittor_ddim.jobs.sample import SampleRequest, run_sampling
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.network import NetworkChoice
from jittor_ddim.runs.folder import Run
from jittor_ddim.sampling import SamplerSettings, sample_images

DOC = "demo"
_JUDGED = 100
_SETTINGS = SamplerSettings(timesteps=50)


def run_demo(
    exp: Path,
    seed: int,
    engine: EngineChoice,
    verbose: str,
) -> dict[str, Any]:
    """Train ``digits.yml`` in ``exp/logs/demo`` and show what became of it.

    :returns: the files made, the seconds it took, and the judge's verdict
    """
    started = time.monotonic()
    config = load_config("digits.yml")
    checkpoint = run_training(
        TrainRequest(
            config,
            exp,
            DOC,
            seed=seed,
            verbose=verbose,
            engine=engine,
            comment="ddim demo",
        )
    )
    grid, animation = run_sampling(
        SampleRequest(
            exp=exp,
            doc=DOC,
            modes=("grid", "gif"),
            settings=_SETTINGS,
            verbose=verbose,
            engine=engine,
        )
    )
    # Not at the top: matplotlib would slow down the start of other commands.
    from jittor_ddim.runs.plots import plot_run

    run = Run.at(exp, DOC)
    plots = plot_run(run.log_folder, run.log_folder / "plots")
    unet = NetworkChoice(exp=exp, doc=DOC).find_network().load(engine)
    images = sample_images(unet, config, _SETTINGS, range(_JUDGED), _JUDGED)
    verdict = judge_digits(np.stack(list(images)))
    return {
        "samples": str(grid),
        "animation": str(animation),
        "plots": [str(path) for path in plots],
        "checkpoint": str(checkpoint),
        "seconds": round(time.monotonic() - started, 1),
        "verdict": asdict(verdict),
    }
