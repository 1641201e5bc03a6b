"""What one engine does in a sweep, in its own process: one method a task.

A cell is begun, sampled batch by batch, and finished; nothing of it is on the disk before.
"""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import replacing, write_atomic
from jittor_ddim.checkpoints import load_weights
from jittor_ddim.data.unscaled import to_rgb
from jittor_ddim.engines.base import Engine, UNet
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.identity import Identity
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator
from jittor_ddim.parity.serve import loaded_frameworks
from jittor_ddim.sampling import SamplerSettings, sample_images
from jittor_ddim.sweep.layout import NETWORK, REFERENCE, cell_file, features_file, time_file
from jittor_ddim.sweep.plan import Plan
from jittor_ddim.sweep.reference import matching_reference
from jittor_ddim.sweep.results import Cell, Eta
from jittor_ddim.version import versions

#: Steps of a warm-up: a first, a middle and a last one, whose graphs differ.
_WARMUP_STEPS = 5  # the fourth call records a CUDA graph


class Extractor(Protocol):
    """What makes features of images."""

    @property
    def identity(self) -> Identity:
        """What the features depend on."""
        ...

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (B, D) of images (B, H, W, 3)."""
        ...


class Session:
    """An engine, the sweep's plan, and what lives from one task to the next."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        folder: Path,
        make_extractor: Callable[[], Extractor],
        write_reference: Callable[[Path], None],
    ) -> None:
        """:param folder: the sweep's; the side's is named after the engine

        :param make_extractor: called once, for the first cell with a distance
        :param write_reference: finds the reference and writes its statistics into a file; called
            by the first side that needs it
        """
        self._engine, self._plan, self._folder = engine, plan, folder
        self._make_extractor, self._write_reference = make_extractor, write_reference
        self._own = folder / engine.name
        self._cell: _Sampling | None = None

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return {"device": self._engine.device, "environment": self._versions()}

    def begin(self, timesteps: int, eta: Eta, distance: bool, keep_features: bool) -> list[int]:
        """Begin a cell and return the sizes of its batches.

        :param distance: whether to measure all images; else one batch is timed
        :param keep_features: whether the other side's cell is to be compared with this one
        """
        plan = self._plan
        reference = self._reference if distance else None
        extractor = self._extractor if distance else None
        images = plan.images if distance else plan.batch_size
        sizes = [plan.batch_size] * (images // plan.batch_size)
        sizes += [rest] if (rest := images % plan.batch_size) else []
        self._cell = _Sampling(
            self._unet, plan, timesteps, eta, sizes, extractor, reference, keep_features
        )
        self._cell.warm_up()
        return sizes

    def batch(self) -> dict[str, Any]:
        """Sample and measure the next batch of the cell."""
        assert self._cell
        self._cell.take_batch()
        return {}

    def finish(self) -> dict[str, Any]:
        """Write the cell."""
        cell = self._cell
        assert cell
        self._cell = None
        key = cell.timesteps, cell.eta
        if cell.kept is not None:
            _write_array(self._own / features_file(*key), np.concatenate(cell.kept))
        result = Cell(
            engine=self._engine.name,
            timesteps=cell.timesteps,
            eta=cell.eta,
            calls=cell.calls,
            images=cell.images,
            seconds_per_image=sum(cell.seconds) / cell.images,
            batch_size=cell.sizes[0],
            batch_seconds=cell.seconds,
            distance=cell.distance(),
            device=self._engine.device,
            precision=self._engine.precision,
            frameworks=loaded_frameworks(),
            versions=self._versions(),
        )
        name = time_file if result.distance is None else cell_file
        write_atomic(self._own / name(*key), result.model_dump_json(indent=1).encode())
        return {}

    @cached_property
    def _unet(self) -> UNet:
        return self._engine.unet(self._plan.config, load_weights(self._folder / NETWORK))

    @cached_property
    def _extractor(self) -> Extractor:
        return self._make_extractor()

    @cached_property
    def _reference(self) -> Moments:
        """The sweep's; both sides use the one that the first of them found."""
        identity = self._extractor.identity
        stored = matching_reference(self._folder, identity)
        if stored is None:
            self._write_reference(self._folder / REFERENCE)
            stored = matching_reference(self._folder, identity)
        assert stored
        return stored.moments

    def _versions(self) -> dict[str, str]:
        return {**versions(), **self._engine.versions()}


class _Sampling:
    """A cell in the making."""

    def __init__(
        self,
        unet: UNet,
        plan: Plan,
        timesteps: int,
        eta: Eta,
        sizes: list[int],
        extractor: Extractor | None,
        reference: Moments | None,
        keep_features: bool,
    ) -> None:
        self._unet, self._plan = unet, plan
        self._extractor, self._reference = extractor, reference
        self._settings = plan.settings(timesteps, eta)
        self._moments = MomentsAccumulator()
        self.timesteps, self.eta, self.sizes = timesteps, eta, sizes
        self.calls = len(self._settings.sequence(plan.config))
        self.images = 0
        self.seconds: list[float] = []
        self.kept: list[NDArray[np.float32]] | None = [] if keep_features else None

    def warm_up(self) -> None:
        """Let the engine compile what a batch of each size needs, which no time counts."""
        steps = min(_WARMUP_STEPS, self.timesteps)
        for size in sorted(set(self.sizes)):
            self._sample(self._plan.settings(steps, self.eta), range(size))

    def take_batch(self) -> None:
        """Sample the next images, timed, and take in their features, not timed."""
        size = self.sizes[len(self.seconds)]
        rows = range(self.images, self.images + size)
        start = time.perf_counter()
        images = self._sample(self._settings, rows)
        self.seconds.append(time.perf_counter() - start)
        self.images += size
        if self._extractor:
            features = self._extractor(to_rgb(images))
            self._moments.add(features)
            if self.kept is not None:
                self.kept.append(features)

    def distance(self) -> float | None:
        """Return how far all samples together are from the reference."""
        if self._reference is None:
            return None
        return frechet_distance(self._moments.moments(), self._reference)

    def _sample(self, settings: SamplerSettings, rows: range) -> NDArray[np.uint8]:
        images = sample_images(self._unet, self._plan.config, settings, rows, len(rows))
        return np.stack(list(images))


def _write_array(path: Path, array: NDArray[np.float32]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
