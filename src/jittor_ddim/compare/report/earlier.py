"""The earlier Jittor-DDIM report's table, beside what was measured here."""

import numpy as np

from jittor_ddim.compare.report.costs import largest
from jittor_ddim.compare.report.series import Column, column, measured
from jittor_ddim.compare.report.tables import Cell, Table, cells, step_times
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Side
from jittor_ddim.evaluation.published import EARLIER_SAMPLING, EARLIER_TRAINING
from jittor_ddim.figures.formatting import fixed, number


def training_table(comparison: Comparison, words: Words) -> Table:
    """Return the training figures of then and now."""
    missing = words("not_measured")
    rows = [
        (f"{name}, {words('earlier.then')}", cells(texts, missing="–"))
        for name, texts in EARLIER_TRAINING.items()
    ]
    times = [step_times(side) for side in comparison.sides]
    medians, longest = (
        fixed([t and getattr(t, key) for t in times], 3, missing) for key in ("p50", "max")
    )
    for side, *seconds in zip(comparison.sides, medians, longest, strict=True):
        row = cells([*seconds, *_resources(side, words)], missing)
        rows.append((f"{side.name}, {words('earlier.now')}", row))
    keys = ("table.side", "earlier.step", "earlier.spikes", "earlier.memory", "earlier.gpu")
    header = [words(key) for key in keys]
    return Table("earlier_training", words("earlier.training_caption"), header, rows)


def sampling_table(comparison: Comparison, words: Words) -> Table:
    """Return the seconds per image then and now: S x the median network call / its batch."""
    missing, then, now = (words(key) for key in ("not_measured", "earlier.then", "earlier.now"))
    ours = [_per_image(side, missing) for side in comparison.sides]
    fid = Cell(words("not_measured_here"), numeric=False)
    rows = []
    for i, (steps, eta, *figures) in enumerate(EARLIER_SAMPLING):
        printed = [Cell(f"0{text}" if text.startswith(".") else text) for text in figures]
        measured_here = cells([column[i] for column in ours], missing)
        rows.append((f"{steps}, η = {eta}", [*printed, *measured_here, fid]))
    header = [words("earlier.steps_eta")]
    for name in EARLIER_TRAINING:
        header += [words("earlier.seconds", name=name, when=then), f"FID, {name}, {then}"]
    header += [words("earlier.seconds", name=s.name, when=now) for s in comparison.sides]
    batches = [
        words("earlier.batch", name=side.name, batch=cost.batch_size)
        for side in comparison.sides
        if (cost := largest(side, "sample"))
    ]
    listed = words("earlier.batches", batches=words.listing(batches)) if batches else ""
    caption = words.sentences([words("earlier.sampling_caption"), listed])
    return Table("earlier_sampling", caption, [*header, f"FID, {now}"], rows)


def _per_image(side: Side, missing: str) -> list[str]:
    cost = largest(side, "sample")
    if cost is None:
        return [missing] * len(EARLIER_SAMPLING)
    one = cost.timing.p50 / cost.batch_size
    return fixed([int(row[0]) * one for row in EARLIER_SAMPLING], 3, missing)


def _resources(side: Side, words: Words) -> tuple[str, str]:
    """Peak memory and mean utilisation of a training run: of the GPU, else of the host.

    The peak counts every step, the mean none of the warm-up.
    """
    series = side.training
    memory = utilization = words("not_measured")
    if series and measured(series.gpu_memory_mb):
        memory = words("earlier.gpu_mb", mb=number(_known(series.gpu_memory_mb).max(), 0))
    elif series and measured(series.host_memory_mb):
        peak = number(_known(series.host_memory_mb).max(), 0)
        memory = words("earlier.host_mb", mb=peak)
    if series and measured(series.gpu_utilization):
        utilization = f"{_known(series.gpu_utilization, side.warmup).mean():.0f} %"
    elif series and measured(series.cpu_utilization):
        mean = f"{_known(series.cpu_utilization, side.warmup).mean():.0f}"
        utilization = words("earlier.cpu_percent", percent=mean)
    return memory, utilization


def _known(values: list[float | None] | None, warmup: int = 0) -> Column:
    array = column(values)[warmup:]
    return array[np.isfinite(array)]
