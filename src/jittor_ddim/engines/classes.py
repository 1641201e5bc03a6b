"""The classes of a batch as a network takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.config import ModelConfig
from jittor_ddim.errors import UserError


def one_hot(
    model: ModelConfig, labels: Sequence[int] | NDArray[np.int64] | None, count: int
) -> list[NDArray[np.float32]]:
    """Return the third input of a network: one-hot rows (B, N + 1); nothing without classes.

    A product of these with a table picks its rows, and unlike an index it is an ordinary operation
    of both frameworks, which compile it once.

    :param labels: (B,) in 0 … N, N for no class; None: no class for all
    :param count: B
    :raises UserError: if there are more or fewer labels, or one is out of range
    """
    if model.num_classes is None:
        return []
    none = model.num_classes
    rows = [none] * count if labels is None else arguments.integers("labels", labels)
    if len(rows) != count:
        raise UserError(f"labels: got {len(rows)} for {count} images")
    for label in (min(rows, default=0), max(rows, default=0)):
        arguments.integer("labels", label, 0, none)
    table = np.zeros((count, none + 1), np.float32)
    table[np.arange(count), rows] = 1
    return [table]
