"""The tables of time and resources: by batch size, and beside those of the earlier report."""

import numpy as np

from jittor_ddim.compare.report.series import Column, column, measured
from jittor_ddim.compare.report.tables import (
    Cell,
    Table,
    cells,
    measure_table,
    new_table,
    step_times,
)
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Cost, Side
from jittor_ddim.evaluation.published import EARLIER_SAMPLING, EARLIER_TRAINING
from jittor_ddim.figures.formatting import fixed, number

_TIMES = ("mean", "p50", "p95", "p99", "max")
_GPU = ("allocated_mb", "reserved_mb", "process_mb", "utilization", "power_w", "joule_per_image")


def largest(side: Side, kind: str) -> Cost | None:
    """Return what a side measured at the largest batch."""
    costs = [cost for cost in side.costs if cost.kind == kind]
    return max(costs, key=lambda cost: cost.batch_size) if costs else None


def glance_table(comparison: Comparison, words: Words) -> Table | None:
    """Return the figures that readers look for first; None if no cost was measured."""
    if not any(side.costs for side in comparison.sides):
        return None
    trained = [largest(side, "train") for side in comparison.sides]
    sampled = [largest(side, "sample") for side in comparison.sides]
    measures: list[tuple[str, list[float | None], int]] = [
        (words("glance.batch"), [c and c.batch_size for c in trained], 1),
        (words("glance.step"), [c and c.timing.p50 for c in trained], 3),
        (words("glance.step_p99"), [c and c.timing.p99 for c in trained], 3),
        (words("glance.images"), [c and c.images_per_s for c in trained], 3),
        (words("glance.memory"), [c and c.peak_host_memory_mb for c in trained], 3),
        (words("glance.cpu"), [c and c.cpu_utilization for c in trained], 2),
        (words("glance.sample_batch"), [c and c.batch_size for c in sampled], 1),
        (words("glance.call"), [c and c.timing.p50 for c in sampled], 3),
        (words("glance.calls"), [c and c.images_per_s for c in sampled], 3),
    ]
    table = measure_table("glance", "measure", measures, comparison, words)
    table.rows.append((words("glance.gpu_memory"), _gpu_cells(trained, "process_mb", words)))
    table.rows.append((words("glance.gpu"), _gpu_cells(trained, "utilization", words)))
    return table


def time_table(comparison: Comparison, kind: str, words: Words) -> Table | None:
    """Return the times of one kind of call by batch size and side."""
    rows = _by_batch(comparison, kind)
    if not rows:
        return None
    missing = words("not_measured")
    columns = [
        [str(cost.batch_size) for _, cost in rows],
        [str(cost.warmup) for _, cost in rows],
        [f"{cost.timing.count:,}" for _, cost in rows],
        fixed([cost.first_call_s for _, cost in rows], 3, missing),
        *(fixed([getattr(cost.timing, key) for _, cost in rows], 3, missing) for key in _TIMES),
        fixed([cost.images_per_s for _, cost in rows], 3, missing),
    ]
    keys = ("side", "batch", "warmup_calls", "calls", "first_call", *_TIMES, "images_per_s")
    body = [
        (name, cells([column[i] for column in columns], missing))
        for i, (name, _) in enumerate(rows)
    ]
    return new_table(f"times_{kind}", keys, body, words)


def resource_table(comparison: Comparison, kind: str, words: Words) -> Table | None:
    """Return memory and utilisation of one kind of call by batch size and side."""
    rows = _by_batch(comparison, kind)
    if not rows:
        return None
    missing = words("not_measured")
    host = [
        [str(cost.batch_size) for _, cost in rows],
        fixed([cost.peak_host_memory_mb for _, cost in rows], 3, missing),
        fixed([cost.cpu_utilization for _, cost in rows], 2, missing),
    ]
    on_gpu = [i for i, (_, cost) in enumerate(rows) if cost.gpu]
    gpu = [fixed([getattr(rows[i][1].gpu, key) for i in on_gpu], 3, missing) for key in _GPU]
    body = []
    for i, (name, _) in enumerate(rows):
        row = cells([column[i] for column in host], missing)
        if i in on_gpu:
            row += cells([column[on_gpu.index(i)] for column in gpu], missing)
        else:
            row.append(Cell(words("no_gpu"), numeric=False, span=len(_GPU)))
        body.append((name, row))
    keys = ("side", "batch", "host_memory", "cpu", *_GPU)
    return new_table(f"resources_{kind}", keys, body, words)


def _by_batch(comparison: Comparison, kind: str) -> list[tuple[str, Cost]]:
    rows = [(s.name, cost) for s in comparison.sides for cost in s.costs if cost.kind == kind]
    return sorted(rows, key=lambda row: row[1].batch_size)  # sides keep their order


def _gpu_cells(costs: list[Cost | None], key: str, words: Words) -> list[Cell]:
    """One cell per side: a number, "not measured", or that there is no GPU."""
    missing = words("not_measured")
    numbers = fixed([getattr(c.gpu, key) if c and c.gpu else None for c in costs], 3, missing)
    return [
        Cell(words("no_gpu"), numeric=False)
        if cost and not cost.gpu
        else Cell(text, text != missing)
        for cost, text in zip(costs, numbers, strict=True)
    ]


def earlier_training_table(comparison: Comparison, words: Words) -> Table:
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


def earlier_sampling_table(comparison: Comparison, words: Words) -> Table:
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
