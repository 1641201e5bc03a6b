"""What a training step costs beside the step: loader, noise and logging."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.entrants import CIFAR10
from jittor_ddim.config import load_config
from jittor_ddim.console.progress import progress
from jittor_ddim.data.loader import make_batch
from jittor_ddim.hardware import Meter
from jittor_ddim.runs.recorder import Recorder

_REPEATS = 50
_IMAGES = 1000


def overhead(folder: Path, batch: int) -> dict[str, float]:
    """Return the seconds of this process for each part of a step's surroundings, medians.

    ``batch``: images, flips, timesteps and noise; threads make it while the last step runs, and
    on a CPU take that step's cores. ``record``: reading the meter, metrics.jsonl, TensorBoard.
    """
    config = load_config(CIFAR10)
    training = config.training.model_copy(update={"batch_size": batch})
    config = config.model_copy(update={"training": training})
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 32, 32, 3)).astype(np.uint8)
    meter = Meter("cpu", lambda: None)
    keys = ("epoch", "loss", "loss_per_element", "grad_norm", "step_time_s", "cpu_time_s")
    record = dict.fromkeys((*keys, "gc_time_s", "kernels_loaded", "data_time_s"), 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    with progress(_REPEATS, "Recording") as bar:
        recorder = Recorder(folder / "metrics.jsonl", folder / "tensorboard", None, bar)
        found = {
            "batch": _median(lambda step: make_batch(images, config, 1, step)),
            "record": _median(
                lambda step: recorder.step({"step": step, **record, **meter.read()})
            ),
        }
        recorder.close()
    return found


def _median(action: Callable[[int], object]) -> float:
    seconds = []
    for step in range(1, _REPEATS + 1):
        start = time.perf_counter()
        action(step)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
