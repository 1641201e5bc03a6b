"""From the log of a run to a series of steps, each slow one with its cause."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.compare.results import Cause, Series
from jittor_ddim.runs.metrics_log import SLOW, read_columns

#: What took this share of a step's excess time explains it.
_SHARE = 0.5

#: Up to this many times the median step's processor time is as usual.
_USUAL = 1.25

Columns = Mapping[str, NDArray[np.float64]]


def read_series(path: Path, warmup: int) -> Series | None:
    """Return the steps of a ``metrics.jsonl``, or None where there is none.

    :param warmup: leading steps that count as warm-up
    :raises UserError: if the file is damaged
    """
    columns = read_columns(path) if path.is_file() else {}
    if "step" not in columns:
        return None
    names = ["loss", "grad_norm", "step_time_s", "data_time_s"]
    names += ["host_memory_mb", "cpu_utilization"]
    gpu = [name for name in ("gpu_memory_mb", "gpu_utilization", "gpu_power_w") if name in columns]
    missing = np.full(len(columns["step"]), np.nan)
    values = {name: _plain(columns.get(name, missing)) for name in names + gpu}
    return Series(
        step=[int(step) for step in columns["step"]],
        cause=causes(columns, warmup),
        **values,  # pyright: ignore[reportArgumentType]
    )


def causes(columns: Columns, warmup: int) -> list[Cause | None]:
    """Return why a step was slow, None for an ordinary one.

    Slow is a step that, with its wait for data, takes more than 1.5 times the median one after the
    warm-up. Its cause is, in this order: that kernels were compiled or loaded in it; that half of
    the excess was Python's garbage collection, or waiting for data; that a snapshot, a preview or
    a validation came just before it, or a snapshot was being written beside it; that all threads
    together worked no longer than in other steps, so that they waited for a processor on which
    something else ran (or for a GPU). A log of an earlier version tells less, and then more is
    unknown.
    """
    count = len(columns["step"])

    def column(name: str) -> NDArray[np.float64]:
        return np.nan_to_num(columns.get(name, np.zeros(count)))

    data, kernels, collected = map(column, ("data_time_s", "kernels_loaded", "gc_time_s"))
    restarting, saving = column("restarting") > 0, column("saving") > 0
    pause, worked = map(column, ("pause_time_s", "cpu_time_s"))
    usual = _USUAL * float(np.median(worked[warmup:])) if count > warmup else 0.0
    total = columns.get("step_time_s", np.full(count, np.nan)) + data
    measured = total[warmup:][np.isfinite(total[warmup:])]
    median = float(np.median(measured)) if len(measured) else math.inf
    excess = total - median
    conditions: dict[Cause | None, NDArray[np.bool_]] = {
        "warmup": (np.arange(count) < warmup) | restarting,
        None: ~(total > SLOW * median),
        "compile": kernels > 0,
        "garbage collection": collected > _SHARE * excess,
        "data wait": data > _SHARE * excess,
        "snapshot": (pause > median) | saving,
        "processor wait": (worked > 0) & (worked <= usual),
        "unknown": np.ones(count, bool),
    }
    causes = list(conditions)
    return [causes[k] for k in np.argmax(list(conditions.values()), axis=0)]


def _plain(column: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in column]
