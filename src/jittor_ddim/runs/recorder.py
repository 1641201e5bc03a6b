"""A training run's observer: metrics.jsonl, TensorBoard and the progress bar."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.console.progress import Counter
from jittor_ddim.figures.grids import grid
from jittor_ddim.runs.metrics_log import MetricsWriter


class Recorder:
    """See :class:`jittor_ddim.training.Observer`."""

    def __init__(
        self, metrics_path: Path, tensorboard_folder: Path, resume_step: int | None, bar: Counter
    ) -> None:
        """Open the files.

        :param resume_step: the checkpoint's step; what was recorded after it is dropped
        """
        from jittor_ddim.runs.tensorboard import EventWriter  # slow to import

        self._metrics = MetricsWriter(metrics_path, resume_step)
        self._events = EventWriter(tensorboard_folder, resume_step)
        self._bar = bar

    def step(self, record: dict[str, Any]) -> None:
        """Write the numbers of a step."""
        self._metrics.write(record)
        self._events.scalars({k: v for k, v in record.items() if k != "step"}, record["step"])
        self._bar.advance(loss=record["loss_per_element"])

    def preview(self, step: int, pixels: NDArray[np.uint8]) -> None:
        """Show the EMA samples of a snapshot as one image."""
        self._events.image("samples", grid(pixels), step)

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._events.close()
