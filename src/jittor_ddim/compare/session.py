"""What one engine does in a comparison, in its own process: one method a task.

``python -m jittor_ddim.compare.session ENGINE FOLDER EXP`` starts it. A task takes plain numbers,
writes its arrays into the side's folder and returns plain numbers.
"""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import write_atomic, writing
from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.native import load_checkpoint, newest_checkpoint
from jittor_ddim.compare.alignment import inspected_arrays
from jittor_ddim.compare.layout import INSPECTION, START, TRAINED, TURNS, samples_file
from jittor_ddim.compare.plan import Plan
from jittor_ddim.compare.statistics import mean
from jittor_ddim.compare.turns import TrainingInTurns
from jittor_ddim.config import Config
from jittor_ddim.data import ImageSet, open_images
from jittor_ddim.data.loader import Batch, make_batch
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.settings import Variant
from jittor_ddim.engines import load_engine
from jittor_ddim.engines.base import UNet
from jittor_ddim.guidance import Classes
from jittor_ddim.hardware import describe_cpu, peak_memory, reset_peak_memory
from jittor_ddim.parity.layout import PLAN
from jittor_ddim.parity.rounding import nudged
from jittor_ddim.parity.serve import serve
from jittor_ddim.sampling import initial_noise, sample_steps
from jittor_ddim.training import make_meter, make_trainer, total_steps
from jittor_ddim.version import versions

_INSPECTED = 4  # images; every layer's output of more would take much memory
_MB = 2**20

Floats = NDArray[np.float32]


class Session:
    """An engine, the comparison's plan, and what lives from one task to the next."""

    def __init__(self, engine: str, plan: Plan, folder: Path, exp: Path) -> None:
        """Start the engine.

        :param folder: the comparison's; the side's is named after the engine
        :param exp: the experiment root, where data sets lie
        """
        self._engine = load_engine(engine, plan.device, plan.precision)
        self._plan, self._config = plan, plan.config
        self._folder, self._exp = folder, exp
        self._own = folder / engine
        self._meter = make_meter(self._engine)

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return {
            "device": self._engine.device,
            "environment": {
                **versions(),
                **self._engine.versions(),
                "precision": self._engine.precision,
                "processor": describe_cpu(),
                "threads": str(_count_threads()),
                "system": platform.platform(),
            },
        }

    def weights(self) -> dict[str, str]:
        """Return a hash of every parameter as the engine holds it at the start."""
        weights = self._engine.unet(self._config, self._start).weights()
        return {name: hashlib.sha256(w.tobytes()).hexdigest() for name, w in weights.items()}

    def inspect(self) -> dict[str, Any]:
        """Write the outputs and gradients of every layer for a few images."""
        inputs = [array[:_INSPECTED] for array in self._batch(self._config).inputs]
        trainer = self._engine.trainer(self._config, self._start)
        outputs, gradients = trainer.inspect(*inputs)
        _write_arrays(self._own / INSPECTION, inspected_arrays(outputs, gradients))
        return {}

    def steps_done(self) -> int:
        """Return the last step that is saved in a checkpoint."""
        newest = newest_checkpoint(self._own)
        return load_checkpoint(newest).step if newest else 0

    def train(self, first: int, last: int) -> dict[str, Any]:
        """Take some steps of the training, which continues from the checkpoint before them."""
        training, path = self._training, self._own / TURNS
        with self._resources() as taken:
            training.take(first, last)
        taken["images"] = (last - first + 1) * self._plan.batch_size
        turns = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        turns.append(taken)
        write_atomic(path, json.dumps(turns).encode())  # before the steps count as done
        training.save()
        return {}

    def rounding(self, steps: int) -> dict[str, Any]:
        """Take the first steps of the training again, from weights that are one rounding away."""
        images, plan, config = self._images, self._plan, self._config
        last_step, start = total_steps(config, len(images.images)), nudged(self._start)
        trainer = make_trainer(config, self._engine, plan.seed, None, start, last_step)
        again: dict[str, list[float]] = {"loss": [], "grad_norm": []}
        for step in range(1, steps + 1):
            batch = make_batch(images.images, config, plan.seed, step, labels=images.labels)
            again["loss"].append(trainer.learn(*batch.inputs))
            again["grad_norm"].append(trainer.grad_norm)
        return again

    def phases(self, count: int) -> list[dict[str, float]]:
        """Return the seconds of the parts of some steps, the first ones left out."""
        trainer = self._training.trainer
        inputs = self._batch(self._config).inputs
        seconds = [trainer.phases(*inputs) for _ in range(count + 2)]
        return seconds[2:]  # a step in parts is another graph, which an engine may compile

    def sample(self, variant: float | str) -> dict[str, Any]:
        """Write the images of one eta or sampler, and for eta = 0 the way to them too."""
        plan, config = self._plan, self._config
        way = Variant.of(variant)
        how = {"eta": way.eta or 0.0, "sampler": way.sampler, "order": way.order}
        images, frames = [], []
        for start in range(0, plan.images, config.training.batch_size):
            rows = range(start, min(start + config.training.batch_size, plan.images))
            x_T = initial_noise(config, plan.seed, rows)
            x_t, states = x_T, [self._pixels(x_T)]
            labels = Classes.every(config).labels(rows)
            for step in sample_steps(
                self._unet,
                config,
                x_T,
                plan.timesteps,
                indices=rows,
                labels=labels,
                seed=plan.seed,
                **how,
            ):
                x_t = step.x_t
                states.append(self._pixels(x_t))
            images.append(from_network(x_t, config.data))
            frames.append(np.stack(states))
        arrays = {"images": np.concatenate(images)}
        if way.eta == 0:
            arrays["frames"] = np.concatenate(frames, axis=1)
        _write_arrays(self._own / samples_file(way), arrays)
        return {}

    def cost(self, kind: str, batch_size: int, calls: int) -> dict[str, Any]:
        """Time some calls at a batch size, one by one."""
        action = self._make_step(batch_size) if kind == "train" else self._make_call(batch_size)
        # A GPU counts energy and utilisation in steps, so it is measured for a second at least.
        least = 1.0 if self._engine.device == "cuda" else 0.0
        self._meter.read()
        seconds, figures = [], []
        with self._resources() as taken:
            while len(seconds) < calls or sum(seconds) < least:
                start = time.perf_counter()
                action()
                seconds.append(time.perf_counter() - start)
                figures.append(self._meter.read())
        return {
            **taken,
            "seconds": seconds,
            "images": len(seconds) * batch_size,
            "cpu_utilization": mean(f["cpu_utilization"] for f in figures),
            "gpu_utilization": mean(f.get("gpu_utilization") for f in figures),
            "power_w": mean(f.get("gpu_power_w") for f in figures),
        }

    def close(self) -> dict[str, Any]:
        """Close workers and files."""
        if "_training" in vars(self):
            self._training.close()
        return {}

    @contextmanager
    def _resources(self) -> Iterator[dict[str, Any]]:
        """Yield a dictionary that will hold the memory and energy that the block has used."""
        taken: dict[str, Any] = {}
        reset_peak_memory()
        self._engine.reset_peak_memory()
        before = self._meter.energy()
        yield taken
        after = self._meter.energy()
        taken["peak_host_memory_mb"] = peak_memory() / _MB
        taken["joule"] = None if before is None or after is None else after - before
        taken["gpu"] = None
        if memory := self._engine.memory():
            allocated = memory.peak_allocated
            taken["gpu"] = {
                "allocated_mb": None if allocated is None else allocated / _MB,
                "reserved_mb": memory.peak_reserved / _MB,
                "process_mb": self._meter.process_gpu_memory(),
            }

    @cached_property
    def _start(self) -> dict[str, Floats]:
        return load_weights(self._folder / START)

    @cached_property
    def _images(self) -> ImageSet:
        return open_images(self._config, "train", self._exp)

    def _batch(self, config: Config) -> Batch:
        """The first batch of a training."""
        images = self._images
        return make_batch(images.images, config, self._plan.seed, 1, labels=images.labels)

    @cached_property
    def _training(self) -> TrainingInTurns:
        return TrainingInTurns(
            self._engine, self._plan, self._images, self._start, self._own, self._meter
        )

    @cached_property
    def _unet(self) -> UNet:
        return self._engine.unet(self._config, load_weights(self._folder / TRAINED))

    def _make_step(self, batch_size: int) -> Callable[[], object]:
        trainer = self._training.trainer
        training = self._config.training.model_copy(update={"batch_size": batch_size})
        config = self._config.model_copy(update={"training": training})
        inputs = self._batch(config).inputs
        return lambda: trainer.learn(*inputs)

    def _make_call(self, batch_size: int) -> Callable[[], object]:
        unet = self._unet
        x_t = unet.to_device(initial_noise(self._config, self._plan.seed, range(batch_size)))
        middle = self._config.diffusion.num_diffusion_timesteps // 2
        return lambda: unet.predict_on_device(x_t, middle)

    def _pixels(self, x: Floats) -> NDArray[np.uint8]:
        return to_uint8(from_network(x, self._config.data))


def _write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with writing(path) as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def _count_threads() -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdigit() else len(os.sched_getaffinity(0))


def main() -> None:
    """Serve on the standard streams."""
    engine, folder, exp = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

    def start() -> Session:
        plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
        return Session(engine, plan, folder, exp)

    serve(folder / engine, start)


if __name__ == "__main__":
    main()
