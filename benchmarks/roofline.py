"""The machine's limits, and how near to them a call of the network comes.

The limits are measured: the most operations a second that PyTorch reaches in one of the network's
own convolutions, and the bytes a second at which memory is copied.
"""

import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.entrants import CIFAR10, Entrant, cpu_precisions
from benchmarks.processes import process
from jittor_ddim.architecture import count_parameters, flops, layers
from jittor_ddim.config import Config, load_config
from jittor_ddim.engines.kernels import use_winograd

_COPIED = 2**28  # bytes: far more than any cache
_REPEATS = 5
_FLOAT = 4  # bytes


def measure_roofline(folder: Path, batch: int) -> dict[str, Any]:
    """Return the limits, and what a call of the network asks of them.

    ``operations`` and ``bytes`` are a call's: every layer reads its input and its weights once and
    writes its output once, which a layer that is fused with the next one need not. Of the
    operations winograd.h leaves ``operations_left``, its transforms not counted. ``seconds`` are
    an engine's medians.
    """
    config = load_config(CIFAR10)
    touched = sum(math.prod(x.in_shape) + math.prod(x.out_shape) for x in layers(config))
    with process(Entrant("pytorch"), folder) as (worker, _):
        peaks = {
            precision: worker.call("convolution_peak", batch=batch, precision=precision)
            for precision in cpu_precisions()
        }
    seconds = {}
    for engine in ("pytorch", "jittor"):
        with process(Entrant(engine), folder) as (worker, _):
            worker.call("sample", batch=batch, calls=1, repeats=1)
            figures = worker.call("sample", batch=batch, calls=1, repeats=_REPEATS)
            seconds[engine] = statistics.median(figures["seconds"])
    return {
        "batch": batch,
        "operations": flops(config) * batch,
        "operations_left": (flops(config) - _saved(config)) * batch,
        "bytes": _FLOAT * (batch * touched + count_parameters(config)),
        "operations_a_second": peaks,
        "bytes_a_second": _copy_speed(),
        "seconds": seconds,
    }


def _saved(config: Config) -> int:
    """The operations of an image that winograd.h saves: 4 products an output instead of 9."""
    return sum(
        2 * math.prod(layer.out_shape) * layer.in_shape[0] * 5
        for layer in layers(config)
        if layer.kind == "conv3x3" and use_winograd(layer.in_shape[0], layer.out_shape[0])
    )


def describe(roofline: dict[str, Any]) -> list[str]:
    """Return it as Markdown."""
    operations, moved = roofline["operations"], roofline["bytes"]
    speed, peaks = roofline["bytes_a_second"], roofline["operations_a_second"]
    left = roofline["operations_left"]
    lines = [
        f"A call at batch {roofline['batch']}: {operations / 1e9:,.0f} GFLOP, of which winograd.h "
        f"leaves {left / 1e9:,.0f}; {moved / 1e9:.2f} GB; memory is copied at "
        f"{speed / 1e9:.1f} GB/s, which takes {moved / speed:.3f} s.",
    ]
    for precision, peak in peaks.items():
        lines.append(
            f"The fastest convolution in {precision}: {peak / 1e9:,.0f} GFLOP/s, at which a call "
            f"would take {operations / peak:.3f} s."
        )
    for engine, seconds in roofline["seconds"].items():
        reached, done = operations / seconds, left / seconds
        lines.append(
            f"{engine}: {seconds:.3f} s, {reached / peaks['float32']:.0%} of that speed; counting "
            f"only what is left, {done / 1e9:,.0f} GFLOP/s, {done / peaks['float32']:.0%}."
        )
    return lines


def _copy_speed() -> float:
    source = np.ones(_COPIED, np.uint8)
    target = np.empty_like(source)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * _COPIED / min(seconds)  # read and written
