"""What any file of weights holds, in this project's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import not_finite
from jittor_ddim.checkpoints.native import Arrays, Checkpoint, OneSet
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, WeightsError

#: Of the noise that follows in a run whose file names no seed; that of the commands.
DEFAULT_SEED = 1234
#: How much larger the arrays may be than their file: float16 grows, and some files share numbers.
_MOST_GROWTH = 4


class _ArrayLike(Protocol):
    def array(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Training:
    """What a run needs to go on, besides its weights and its config."""

    step: int
    epoch: int
    optimizer: Arrays  # by ``kind/parameter``
    seed: int = DEFAULT_SEED
    engine: str = "pytorch"
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """Weights by the official names, float32, and what else their file tells.

    :ivar format: ``native``, ``official``, ``pytorch``, ``jittor``, ``diffusers`` or
        ``safetensors``
    :ivar ema_weights: None where the file has one set of weights, whatever they are
    """

    format: str
    weights: Arrays
    ema_weights: Arrays | None = None
    config: Config | None = None
    training: Training | None = None

    def one_set(self, ema: bool) -> OneSet:
        """Return the moving average where it is wanted and there, else the weights."""
        step = self.training.step if self.training else None
        if ema and self.ema_weights is not None:
            return OneSet(self.ema_weights, self.config, "ema", step)
        known = self.training is not None or self.ema_weights is not None
        return OneSet(self.weights, self.config, "raw" if known else None, step)

    def checkpoint(self, config: Config) -> Checkpoint:
        """Return all of it as one of our checkpoints.

        :raises CheckpointError: if there is no training state
        """
        if self.training is None:
            raise CheckpointError("holds weights alone, without a training state")
        return Checkpoint(
            step=self.training.step,
            epoch=self.training.epoch,
            seed=self.training.seed,
            config=config,
            weights=self.weights,
            ema_weights=self.ema_weights if config.model.ema else None,
            optimizer=self.training.optimizer,
            engine=self.training.engine,
            versions=self.training.versions,
        )

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Contents":
        """Return the contents of one of our checkpoints."""
        return cls(
            "native",
            checkpoint.weights,
            checkpoint.ema_weights,
            checkpoint.config,
            Training(
                checkpoint.step,
                checkpoint.epoch,
                checkpoint.optimizer,
                checkpoint.seed,
                checkpoint.engine,
                checkpoint.versions,
            ),
        )


def is_state_dict(tree: Any) -> bool:
    """Tell whether a tree from a file maps names to arrays, and to nothing else."""
    return (
        isinstance(tree, dict)
        and bool(tree)
        and all(type(name) is str and hasattr(value, "array") for name, value in tree.items())
    )


def as_float32(records: Mapping[str, _ArrayLike], file_size: int) -> Arrays:
    """Return the arrays of a state dict as float32.

    :param file_size: in bytes; a small file may describe arrays that no memory could hold
    :raises CheckpointError: if they are much larger than their file, or integers: those of
        quantised weights mean nothing without their scales
    :raises WeightsError: if a value is not finite
    """
    arrays = {name: record.array() for name, record in records.items()}
    if 4 * sum(array.size for array in arrays.values()) > _MOST_GROWTH * file_size:
        raise CheckpointError("refused: its tensors claim to be larger than the file")
    for name, array in arrays.items():
        if array.dtype.kind != "f" and array.size > 1:  # one alone is a counter
            raise CheckpointError(
                f"{name[:80]}: its numbers are {array.dtype}, and weights are floating-point "
                "numbers; if they are quantised, save them as they were before"
            )
    with np.errstate(over="ignore"):  # of float64; it is found below
        floats = {name: np.asarray(array, np.float32, order="C") for name, array in arrays.items()}
    if fault := not_finite(floats):
        raise WeightsError(fault)
    return floats
