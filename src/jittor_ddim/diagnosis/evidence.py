"""What a run left behind, read once and only where a cause asks for it."""

from __future__ import annotations

import math
import re
import warnings
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.averaging import share_of_start, with_rate
from jittor_ddim.checkpoints.contents import Checkpoint
from jittor_ddim.checkpoints.native import load_checkpoint, newest_checkpoint
from jittor_ddim.config import Config, load_config
from jittor_ddim.diagnosis.expected import constant_loss, linear_loss
from jittor_ddim.diagnosis.images import Sample, read_sample
from jittor_ddim.errors import CheckpointError, DataError, UserError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.runs.metrics_log import read_columns
from jittor_ddim.training import total_steps

#: Samples of less are blurs. Of the best linear predictor's loss: CIFAR-10 0.9 after 400 steps
#: of 64, 0.8 after 1,000, 0.69 after 8,310 (recognisable); digits 0.8 after 500, 0.72 after 2,000
#: (60 % can be read), 0.6 after 4,000.
ENOUGH = 0.8

Weights = dict[str, NDArray[np.float32]]

_CONFIG, _METRICS, _LOG = "config.yml", "metrics.jsonl", "stdout.txt"
#: Losses of single steps differ by their timesteps and noise; so many of them tell the level.
_WINDOW = 50


class Evidence:
    """A run's config, log, newest checkpoint and images; nothing is written.

    :ivar folder: the run's, such as exp/logs/c10
    :ivar config: that of its config.yml, which may have been edited since
    """

    def __init__(self, folder: Path) -> None:
        """Read the config.

        :raises UserError: if the folder is not a run's
        :raises ConfigError: if its config is wrong
        """
        self.folder = arguments.path("run", folder)
        file = self.folder / _CONFIG
        if not file.is_file():
            raise UserError(
                f"{folder}: has no {_CONFIG}; give a run's folder, such as exp/logs/c10"
            )
        with warnings.catch_warnings():  # what it warns of is a finding here
            warnings.simplefilter("ignore")
            self.config: Config = load_config(file)

    @property
    def exp(self) -> Path:
        """The experiment's root, in which data sets may be."""
        parents = self.folder.absolute().parents
        return next((path.parent for path in parents if path.name == "logs"), parents[0])

    @cached_property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The numbers of all steps by the keys of metrics.jsonl; empty without the file."""
        path = self.folder / _METRICS
        return read_columns(path) if path.is_file() else {}

    @cached_property
    def log(self) -> list[str]:
        """The lines of stdout.txt but those of single steps."""
        path = self.folder / _LOG
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip("\n") for line in lines if "] Step: " not in line]

    @cached_property
    def resumed_at(self) -> list[int]:
        """After which steps the run was resumed."""
        found = (re.search(r"Resuming from step (\d+) of a run", line) for line in self.log)
        return [int(match[1]) for match in found if match]

    @cached_property
    def _read(self) -> Checkpoint | str | None:
        if newest_checkpoint(self.folder) is None:
            return None
        try:
            return load_checkpoint(self.folder)
        except CheckpointError as error:
            return str(error)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint; None if there is none, or it cannot be read."""
        return self._read if isinstance(self._read, Checkpoint) else None

    @property
    def damage(self) -> str | None:
        """Why the newest checkpoint cannot be read."""
        return self._read if isinstance(self._read, str) else None

    @cached_property
    def _sample(self) -> Sample | str:
        try:
            return read_sample(self.config, self.exp)
        except (DataError, OSError) as error:
            return str(error)

    @property
    def sample(self) -> Sample | None:
        """Some of the training images; None if they cannot be read here."""
        return self._sample if isinstance(self._sample, Sample) else None

    @cached_property
    def start(self) -> Weights | None:
        """The random weights with which the run began; None if it began with others."""
        begun = self.column("step")[:1].tolist() == [1.0]
        if self.checkpoint is None or not begun:
            return None
        if any("Starting from the weights of" in line for line in self.log):
            return None
        return fresh_weights(self.checkpoint.config, self.checkpoint.seed)

    @cached_property
    def moved(self) -> float:
        """How far the weights are from their start, in units of its size; NaN if unknown."""
        if self.checkpoint is None or self.start is None:
            return math.nan
        return distance(self.checkpoint.weights, self.start) / distance(self.start, None)

    @cached_property
    def stride(self) -> float:
        """What Adam changes in one step at the highest rate so far, in units of the start's size.

        0 with SGD, whose steps are as long as the gradients.
        """
        optim = self.config.optim
        if optim.optimizer == "SGD":
            return 0.0
        rate = optim.lr * min(1.0, self.steps / optim.warmup_steps if optim.warmup_steps else 1.0)
        return rate / distance(self.start or fresh_weights(self.config), None)

    @cached_property
    def share_of_start(self) -> float:
        """The weight of the random start in the moving average; 0 if there is none."""
        if self.checkpoint is None or self.start is None or not self.checkpoint.ema_weights:
            return 0.0
        return share_of_start(with_rate(self.checkpoint.config), self.checkpoint.step)

    @cached_property
    def steps(self) -> int:
        """How many steps are in the log, else in the newest checkpoint."""
        steps = self.column("step")
        return int(steps[-1]) if len(steps) else (self.checkpoint.step if self.checkpoint else 0)

    @cached_property
    def planned(self) -> int:
        """How many steps the run is to have."""
        if self.sample is None:
            return self.config.training.n_iters
        return total_steps(self.config, self.sample.count)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a key's number of every step; empty if no step has it."""
        return self.columns.get(name, np.zeros(0))

    def typical(self, name: str) -> float:
        """Return a key's median; NaN if no step has it."""
        known = self.column(name)
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else math.nan

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The loss per element of every step, NaN where it was not finite."""
        # JSON has null for NaN, so that a log of nothing else has no column of losses.
        unknown = np.full(len(self.column("step")), np.nan)
        return self.columns.get("loss_per_element", unknown)

    @cached_property
    def finite_losses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The steps with a finite loss, and it, per element."""
        known = np.isfinite(self.losses)
        return self.column("step")[known], self.losses[known]

    def level(self, end: int | None = None) -> float:
        """Return the loss at a step, the median of up to 50 that end there; NaN without any.

        :param end: None: at the last step; NaN if its loss is
        """
        upto = self.losses[:end]
        window = upto[-max(1, min(_WINDOW, len(upto) // 5)) :]
        if not len(upto) or not math.isfinite(upto[-1]):
            return math.nan
        return float(np.median(window[np.isfinite(window)]))

    @cached_property
    def validations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The steps with a validation loss, and it, per element."""
        loss = self.column("validation_loss_per_element")
        known = np.isfinite(loss)
        return self.column("step")[known], loss[known]

    @cached_property
    def linear_loss(self) -> float:
        """The loss of the best predictor that is linear in its image; NaN without images."""
        if self.sample is None:
            return math.nan
        return linear_loss(self.config, self.sample.patch_variances)

    @cached_property
    def constant_loss(self) -> float:
        """The loss of a predictor that answers the same whatever it sees."""
        variance = float(self.sample.x0.var(axis=0).mean()) if self.sample else 0.25
        return constant_loss(self.config, variance)

    def not_judged(self) -> list[str]:
        """Return of which kinds of evidence there is nothing that could be read."""
        read = {
            "steps": len(self.losses) > 0,
            "weights": self.checkpoint is not None,
            "images": self.sample is not None,
        }
        return [kind for kind, there in read.items() if not there]

    def looked_at(self) -> dict[str, str | None]:
        """Return what could be read, or why it could not; None: there is none."""
        sample, checkpoint = self._sample, self.checkpoint
        read = sample if isinstance(sample, str) else f"{len(sample.pixels):,} / {sample.total:,}"
        return {
            "steps": f"{len(self.losses):,}" if len(self.losses) else None,
            "weights": self.damage or (f"ckpt_{checkpoint.step}" if checkpoint else None),
            "images": read,
        }


def distance(one: Weights, other: Weights | None) -> float:
    """Return the root mean square of matrices' differences; without others of the matrices.

    Biases, norms and the classes' embedding begin at a constant, so they have no scale.
    """
    total, count = 0.0, 0
    for name in matrices(one):
        gap = one[name] if other is None else one[name] - other[name]
        total += float(np.square(gap, dtype=np.float64).sum())
        count += gap.size
    return math.sqrt(total / count) if count else math.nan


def cosine(one: Weights, other: Weights, origin: Weights | None) -> float:
    """Return the cosine between two ways, of matrices alone; NaN if one has no length.

    :param origin: from which both begin, None: zero
    """
    inner, squares = 0.0, np.zeros(2)
    for name in matrices(one):
        begin = 0.0 if origin is None else origin[name].astype(np.float64)
        ways = [(w[name] - begin).astype(np.float64).ravel() for w in (one, other)]
        inner += float(ways[0] @ ways[1])
        squares += [float(way @ way) for way in ways]
    return inner / math.sqrt(squares.prod()) if squares.all() else math.nan


def matrices(weights: Weights) -> list[str]:
    """Return the names of weights that begin at random."""
    return [n for n, w in weights.items() if w.ndim > 1 and not n.startswith("class_embedding")]
