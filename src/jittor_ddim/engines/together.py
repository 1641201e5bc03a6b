"""What the ranks of one training tell each other, beside the gradients."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ddim.engines.primitives import Primitives
from jittor_ddim.errors import OtherRankError, RankError, UserError

#: The keys of ``metrics.jsonl`` of which several ranks record least, mean and most.
_SPREAD = ("data_time_s", "step_time_s", "reduce_time_s", "host_memory_mb", "gpu_memory_mb")
_NAMES = ("min", "mean", "max")


def spread_and_signal(
    engine: Primitives, record: Mapping[str, Any], signals: list[int]
) -> tuple[dict[str, float], list[int]]:
    """Return how a step's figures differ among ranks, and a signal that any of them received.

    :param record: this rank's figures by the keys of ``metrics.jsonl``
    :param signals: those that this rank received, at most one
    :returns: ``KEY_min``, ``KEY_mean`` and ``KEY_max``; at most one signal, the same on all ranks
    """
    keys = [key for key in _SPREAD if key in record]
    table = engine.gather([*(record[key] for key in keys), *(signals or [0])]).astype(np.float64)
    figures: dict[str, float] = {}
    for key, column in zip(keys, table.T, strict=False):
        figures |= {f"{key}_{name}": float(getattr(column, name)()) for name in _NAMES}
    signal = int(table[:, -1].max())
    return figures, [signal] if signal else []


def agree(engine: Primitives, same: Mapping[str, object], failure: UserError | None) -> None:
    """Go on only if every rank is ready, and for the same work.

    :param same: what must not differ between ranks, by its name
    :param failure: why this rank is not ready; None if it is
    :raises RankError: on one rank, saying which ranks are not ready or differ
    :raises OtherRankError: on the others
    """
    rank = engine.rank
    table = engine.gather([failure is not None, *(_digest(value) for value in same.values())])
    failed = np.flatnonzero(table[:, 0])
    if len(failed):
        if rank.index != failed[0] or failure is None:
            raise OtherRankError(2)
        raise RankError(f"rank {rank.index}: {failure}") from failure
    for name, column in zip(same, table[:, 1:].T, strict=True):
        others = np.flatnonzero(column != column[0])
        if len(others):
            if not rank.is_first:
                raise OtherRankError(2)
            who = "rank" if len(others) == 1 else "ranks"
            raise RankError(
                f"{who} {', '.join(map(str, others))}: another {name} than rank 0; give all ranks "
                "the same command, code and files"
            )


def _digest(value: object) -> int:
    """24 bits, which a float32 holds exactly."""
    return int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:3], "big")
