"""Which recipe learns the digits best in equally many steps; the table of docs/models.md.

    python tools/study_recipe.py [--steps 400] [--engine jittor]

Each recipe changes `digits.yml` with classes. It is sampled and judged as in `ddim demo`, but
without guidance: with the average of the weights (ema), and with the weights themselves (raw).
Interrupted, it goes on with the recipe that is missing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.config import load_config
from jittor_ddim.demo.judge import Judge
from jittor_ddim.demo.recipe import SAMPLING
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.guidance import Classes
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.network import NetworkChoice
from jittor_ddim.sampling import sample_images

_V = {"diffusion.prediction": "v", "optim.decay": "cosine"}
RECIPES: dict[str, dict[str, Any]] = {
    "v-decay": _V,
    "eps": {},
    "eps-decay": {"optim.decay": "cosine"},
    "v-decay-cosine-betas": _V | {"diffusion.beta_schedule": "cosine"},
    "v-decay-min-snr": _V | {"training.loss_weight": "min_snr_gamma"},
    "v": {"diffusion.prediction": "v"},
    "v-decay-lr-0.004": _V | {"optim.lr": 0.004},
    "v-decay-lr-0.001": _V | {"optim.lr": 0.001},
    "v-decay-ema-0.999": _V | {"model.ema_rate": 0.999},
    "v-decay-ema-0.98": _V | {"model.ema_rate": 0.98},
    "x0-decay": {"diffusion.prediction": "x0", "optim.decay": "cosine"},
}


def main() -> None:
    """Train what is missing, and print a line of JSON for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--engine", default="jittor")
    parser.add_argument("--exp", type=Path, default=Path("exp/recipes"))
    parser.add_argument("--num_samples", type=int, default=1000)
    given = parser.parse_args()
    engine, judge = EngineChoice(given.engine), Judge()
    for name, changes in RECIPES.items():
        doc = f"{name}-{given.steps}-{given.engine}"
        found = given.exp / f"{doc}-{given.num_samples}.json"
        if not found.exists():
            train(doc, changes, given.steps, given.exp, engine)
            judged = {w: measure(doc, w, given, engine, judge) for w in ("ema", "raw")}
            found.write_text(json.dumps({"recipe": name, **judged}))
        print(found.read_text(), flush=True)


def train(doc: str, changes: dict[str, Any], steps: int, exp: Path, engine: EngineChoice) -> None:
    """Train one recipe; seed, images and noise are those of all."""
    same = {"n_iters": steps, "snapshot_freq": steps, "validation_freq": steps}
    same = {f"training.{key}": value for key, value in same.items()} | {"model.num_classes": 10}
    config = load_config("digits.yml", same | changes)
    run_training(TrainRequest(config, exp, doc, verbose="warning", engine=engine))


def measure(
    doc: str, weights: str, given: argparse.Namespace, engine: EngineChoice, judge: Judge
) -> dict[str, float]:
    """Return the shares read as asked for, and FD-small, of samples without guidance."""
    network = NetworkChoice(exp=given.exp, doc=doc, weights=weights).find_network()
    rows, classes = range(given.num_samples), Classes(tuple(range(10)))
    settings = SAMPLING.settings(seed=1234)
    unet = network.load(engine)
    images = sample_images(unet, network.config, settings, rows, 250, classes)
    reading, distance = judge.judge(np.stack(list(images)), np.arange(given.num_samples) % 10)
    shares = {"read": reading.read, "surely": reading.surely, "fd_small": distance}
    return {key: round(value, 4) for key, value in shares.items()}


if __name__ == "__main__":
    main()
