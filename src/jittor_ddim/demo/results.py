"""What a demo has found: everything its page shows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Pictures:
    """Images of one network, as files.

    :ivar classes: what the rows are called, from the top; empty without classes
    """

    grid: Path
    animation: Path
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shipped:
    """The model that ships, which is shown first."""

    name: str
    draws: str  # in a few words
    parameters: int
    sampling: str  # how it was sampled, as options of ``ddim sample``
    pictures: Pictures


@dataclass(frozen=True)
class Reading:
    """What a classifier makes of images of which it is known what they should be.

    :ivar read: the share that it reads as that
    :ivar surely: the same, with a probability of at least :data:`jittor_ddim.demo.judge.SURE`
    """

    images: int
    read: float
    surely: float


@dataclass(frozen=True)
class Judged:
    """How good samples are that took so many network calls."""

    sampler: str
    calls: int
    reading: Reading
    fd_small: float


@dataclass(frozen=True)
class Training:
    """How the network was trained.

    :ivar command: that trains the same
    :ivar seconds: of all steps, also of those before an interruption
    :ivar steps: (K,), from 1; ``loss``, (K,), per element; ``validation``, (K,), NaN between two
    """

    command: str
    engine: str
    engine_option: str  # names it in a command; "" if commands take it by themselves
    parameters: int
    batch_size: int
    seconds: float
    steps: Column
    loss: Column
    validation: Column


@dataclass(frozen=True)
class Demo:
    """Everything."""

    folder: Path
    shipped: Shipped
    training: Training
    sampling: str
    real: Path  # a grid of real digits, a row for each class
    real_reading: Reading  # of held-out ones
    samples: Pictures
    judged: tuple[Judged, ...]

    @property
    def verdict(self) -> Judged:
        """The samples as the page shows them: the best sampler with the most calls."""
        return self.judged[-1]
