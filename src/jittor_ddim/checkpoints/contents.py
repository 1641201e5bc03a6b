"""What a weights file of any format holds, in this project's terms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.architecture import not_finite
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, WeightsError

Arrays = dict[str, NDArray[Any]]

#: The default seed of the commands, and that of a run whose file records none.
DEFAULT_SEED = 1234
#: The expected parameter names, for messages.
DDIM_NAMES = (
    "conv_in.weight, temb.dense.0.weight, … (diffusers: time_embedding.linear_1.weight, …)"
)
#: How much larger the arrays may be than their file: float16 grows, and some files share numbers.
_MOST_GROWTH = 4
_SHOWN, _SHOWN_KEYS = 3, 8


class _ArrayLike(Protocol):
    def array(self) -> NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a run needs to resume after ``step`` optimiser steps, besides weights and config."""

    step: int
    epoch: int
    optimizer: Arrays  # for instance "exp_avg/conv_in.weight"; a scalar is an array of shape ()
    seed: int = DEFAULT_SEED
    engine: str = "pytorch"  # any engine can resume it
    precision: str | None = None  # of the run's computations; None: the file does not say
    versions: dict[str, str] = field(default_factory=dict)  # such as {"jittor_ddim": "0.1.0"}


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Training):
    """A run's whole state; arrays have the official parameter names."""

    config: Config
    weights: Arrays
    ema_weights: Arrays | None  # None: EMA is off


class OneSet(NamedTuple):
    """One set of weights from a file or folder, and what is known about it."""

    weights: Arrays
    config: Config | None
    kind: str | None  # "ema" or "raw"; None: the only set of a file that does not say
    step: int | None  # optimiser steps taken; None: the file does not say


@dataclass(frozen=True)
class Contents:
    """Float32 weights by the official names, and what else their file holds.

    :ivar format: ``native``, ``official``, ``pytorch``, ``jittor``, ``diffusers`` or
        ``safetensors``
    :ivar ema_weights: None if the file has only one set of weights, of either kind
    """

    format: str
    weights: Arrays
    ema_weights: Arrays | None = None
    config: Config | None = None
    training: Training | None = None

    def one_set(self, ema: bool) -> OneSet:
        """Return the moving average if it is wanted and present, else the plain weights."""
        step = self.training.step if self.training else None
        if ema and self.ema_weights is not None:
            return OneSet(self.ema_weights, self.config, "ema", step)
        known = self.training is not None or self.ema_weights is not None
        return OneSet(self.weights, self.config, "raw" if known else None, step)

    def checkpoint(self, config: Config) -> Checkpoint:
        """Return everything as one of the project's own checkpoints.

        :raises CheckpointError: if there is no training state
        """
        if self.training is None:
            raise CheckpointError("holds only weights, no training state")
        return Checkpoint(
            **{one.name: getattr(self.training, one.name) for one in fields(Training)},
            config=config,
            weights=self.weights,
            ema_weights=self.ema_weights if config.model.ema else None,
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
    :raises CheckpointError: if they are much larger than their file, or integers: quantised
        weights mean nothing without their scales
    :raises WeightsError: if a value is not finite
    """
    arrays = {name: record.array() for name, record in records.items()}
    if 4 * sum(array.size for array in arrays.values()) > _MOST_GROWTH * file_size:
        raise CheckpointError("refused: its tensors claim to be larger than the file")
    for name, array in arrays.items():
        if array.dtype.kind != "f" and array.size > 1:  # one alone is a counter
            raise CheckpointError(
                f"{name[:80]}: has the type {array.dtype}, but weights must be floating-point "
                "numbers; if they are quantised, save the original ones"
            )
    with np.errstate(over="ignore"):  # of float64, which not_finite finds
        floats = {name: np.asarray(array, np.float32, order="C") for name, array in arrays.items()}
    if fault := not_finite(floats):
        raise WeightsError(fault)
    return floats


def describe(tree: Any, depth: int = 4) -> str:
    """Return what a tree holds, in a few words, for a message.

    :param depth: how many levels of nested dictionaries to describe by their keys
    """
    if not isinstance(tree, dict) or not depth:
        kind = type(tree).__name__
        return f"a {kind} of {len(tree)}" if isinstance(tree, (list, tuple, dict)) else f"a {kind}"
    tensors = [str(key) for key, value in tree.items() if hasattr(value, "array")]
    others = [
        f"{str(key)[:40]} ({describe(value, depth - 1)})"
        if isinstance(value, dict)
        else str(key)[:40]
        for key, value in list(tree.items())[:_SHOWN_KEYS]
        if not hasattr(value, "array")
    ]
    parts = [f"{len(tensors)} tensors ({some(tensors)})"] if tensors else []
    return ", ".join(parts + ([f"the keys {', '.join(others)}"] if others else [])) or "nothing"


def some(names: Iterable[str]) -> str:
    """Return the first few of some names, for a message."""
    listed = list(names)
    shown = ", ".join(name[:60] for name in listed[:_SHOWN])
    return f"{shown}, …" if len(listed) > _SHOWN else shown
