"""What one engine does in a sweep, in its own process: one method a task.

``python -m jittor_ddim.sweep.session FOLDER EXP WEIGHTS ENGINE`` starts it; WEIGHTS is the file of
Inception weights, or empty. A cell is begun, sampled batch by batch, and finished; nothing of it
is on the disk before.
"""

import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import write_atomic, writing
from jittor_ddim.checkpoints import load_weights
from jittor_ddim.data.unscaled import to_rgb
from jittor_ddim.engines import describe_engine
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import Extractor, ExtractorChoice
from jittor_ddim.evaluation.reference import obtain_reference
from jittor_ddim.evaluation.statistics_files import write_statistics
from jittor_ddim.guidance import Classes
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator
from jittor_ddim.parity.layout import PLAN
from jittor_ddim.parity.serve import loaded_frameworks, serve
from jittor_ddim.sampling import SamplerSettings, sample_images
from jittor_ddim.sweep.layout import NETWORK, REFERENCE, file_name, load_reference
from jittor_ddim.sweep.plan import Plan
from jittor_ddim.sweep.results import Cell, Row, Variant
from jittor_ddim.version import versions

#: Steps of a warm-up: a first, a middle and a last one, whose graphs differ.
_WARMUP_STEPS = 5  # the fourth call records a CUDA graph


class Session:
    """An engine, the sweep's plan, and what lives from one task to the next."""

    def __init__(
        self, engine: str, plan: Plan, folder: Path, exp: Path, weights: Path | None
    ) -> None:
        """Start the engine.

        :param folder: the sweep's; the engine's own is in it and has its name
        :param exp: the experiment, where references are cached
        :param weights: of the Inception network, or None
        """
        self._plan, self._folder, self._exp = plan, folder, exp
        compiled = plan.compile and describe_engine(engine).compiles
        self._choice = EngineChoice(engine, plan.device, plan.precision, compiled)
        self._engine = self._choice.start()
        self._extractor_choice = ExtractorChoice(plan.features, plan.mode, weights)
        self._cell: Iterator[None] = iter(())

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return {"device": self._engine.device, "environment": self._versions()}

    def begin(
        self, timesteps: int, eta: float | str, distance: bool, keep_features: bool
    ) -> list[int]:
        """Begin a cell and return the sizes of its batches.

        :param eta: see :class:`~jittor_ddim.sweep.results.Variant`
        :param distance: whether to measure all images; otherwise one batch is timed
        :param keep_features: whether other engines' cells are to be compared with this one
        """
        plan, row = self._plan, Row(timesteps, Variant.of(eta))
        reference = self._reference if distance else None
        whole, rest = divmod(plan.images if distance else plan.batch_size, plan.batch_size)
        sizes = [plan.batch_size] * whole + [rest] * bool(rest)
        # The engine compiles what a batch of each size needs, which no time counts.
        warm_up = plan.settings(row, _WARMUP_STEPS)
        for size in sorted(set(sizes)):
            self._sample(warm_up, range(size))
        self._cell = self._measure(row, sizes, reference, keep_features)
        return sizes

    def batch(self) -> None:
        """Sample the cell's next batch and take in its features."""
        next(self._cell)

    def finish(self) -> None:
        """Write the cell."""
        next(self._cell, None)

    def _measure(
        self, row: Row, sizes: list[int], reference: Moments | None, keep_features: bool
    ) -> Iterator[None]:
        """Sample a batch until each ``yield``, and after the last one write the cell."""
        settings, own = self._plan.settings(row), self._folder / self._engine.name
        images, seconds, kept, moments = 0, [], [], MomentsAccumulator()
        for size in sizes:
            start = time.perf_counter()
            pixels = self._sample(settings, range(images, images + size))
            seconds.append(time.perf_counter() - start)
            images += size
            if reference:
                features, _ = self._extractor.features(self._extractor.prepare(to_rgb(pixels)))
                moments.add(features)
                if keep_features:
                    kept.append(features)
            yield
        if keep_features:
            with writing(own / file_name("features", row)) as file:
                np.save(file, np.concatenate(kept))
        cell = Cell(
            engine=self._engine.name,
            timesteps=row.timesteps,
            eta=row.variant.stored,
            calls=self._plan.calls(row),
            images=images,
            seconds_per_image=sum(seconds) / images,
            batch_size=sizes[0],
            batch_seconds=seconds,
            distance=frechet_distance(moments.moments(), reference) if reference else None,
            device=self._engine.device,
            precision=self._engine.precision,
            frameworks=loaded_frameworks(),
            versions=self._versions(),
        )
        path = own / file_name("cell" if reference else "time", row)
        write_atomic(path, cell.model_dump_json(indent=1).encode())

    def _sample(self, settings: SamplerSettings, rows: range) -> NDArray[np.uint8]:
        config = self._plan.config
        classes = Classes.every(config)
        images = sample_images(self._unet, config, settings, rows, len(rows), classes)
        return np.stack(list(images))

    @cached_property
    def _unet(self) -> UNet:
        return self._engine.unet(self._plan.config, load_weights(self._folder / NETWORK))

    @cached_property
    def _extractor(self) -> Extractor:
        return self._extractor_choice.load(self._choice, self._size)

    @cached_property
    def _reference(self) -> Moments:
        """The sweep's: the first engine to need it stores it for all."""
        plan, path, extractor = self._plan, self._folder / REFERENCE, self._extractor
        if not path.exists():
            found = obtain_reference(plan.reference, extractor, plan.config, self._exp, self._size)
            write_statistics(path, found.moments, extractor.identity, found.name, found.remarks)
        stored = load_reference(self._folder)
        assert stored
        if stored.identity and (other := extractor.identity.differences(stored.identity)):
            raise UserError(
                f"{path}: made with other features ({', '.join(other)}); give the same "
                "`inception`, or choose another `out`"
            )
        return stored.moments

    @property
    def _size(self) -> tuple[int, int]:
        size = self._plan.config.data.image_size
        return size, size

    def _versions(self) -> dict[str, str]:
        return {**versions(), **self._engine.versions()}


def main() -> None:
    """Serve on the standard streams."""
    folder, exp = map(Path, sys.argv[1:3])
    weights, engine = sys.argv[3:]

    def start() -> Session:
        plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
        return Session(engine, plan, folder, exp, Path(weights) if weights else None)

    serve(folder / engine, start)


if __name__ == "__main__":
    main()
