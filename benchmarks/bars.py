"""What the project promises of its speed, on a 2-core CPU with AVX-512 BF16 at batch 16."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.entrants import PEER
from benchmarks.table import ratio_text
from jittor_ddim.compare.statistics import ratio_of_medians

_PYTORCH = tuple(
    f"pytorch {precision}{compiled}"
    for precision in ("float32", "bfloat16")
    for compiled in ("", " compiled")
)
_OURS = ("jittor float32", "pytorch float32")


class Bar(NamedTuple):
    """A promise and what was found of it."""

    what: str
    promised: str
    found: str


def promises(raw: dict[str, Any]) -> list[str]:
    """Return a table of the promises beside the figures of a run on a CPU."""
    lines = ["| promise | bar | measured (95 %) |", "|---|---:|---:|"]
    return lines + [f"| {bar.what} | {bar.promised} | {bar.found} |" for bar in _bars(raw)]


def _bars(raw: dict[str, Any]) -> Iterator[Bar]:
    for what, task, entrants, least in (
        ("PyTorch engine, sampling, fastest", "sample", _PYTORCH, 2.5),
        ("PyTorch engine, sampling, float32", "sample", ("pytorch float32",), 1.15),
        ("PyTorch engine, training, fastest", "train", _PYTORCH, 2.0),
        ("Jittor engine, sampling, float32", "sample", ("jittor float32",), 1.15),
        ("Jittor engine, sampling, bfloat16", "sample", ("jittor bfloat16",), 2.0),
        ("Jittor engine, training, float32", "train", ("jittor float32",), 1.05),
        ("Jittor engine, training, bfloat16", "train", ("jittor bfloat16",), 1.5),
    ):
        found = _against_peer(raw[task], entrants)
        yield Bar(f"{what} / {PEER.name}", f">= {least}", found)
    jittor, pytorch = (raw["steady"][name] for name in _OURS)
    if "seconds" in jittor and "seconds" in pytorch:
        ratios = [_tail(side["seconds"]) for side in (jittor, pytorch)]
        found = f"{ratios[0] / ratios[1]:.2f} ({ratios[0]:.2f} / {ratios[1]:.2f})"
        what = f"p99 / p50 of {len(jittor['seconds'])} digits steps, Jittor / PyTorch"
        yield Bar(what, "<= 1.1", found)
        yield Bar("kernels loaded in those steps, Jittor", "0", str(jittor["loaded"]))
    jittor, pytorch = (raw["train"][name] for name in _OURS)
    if "host" in jittor and "host" in pytorch:
        found = f"{jittor['host'] / pytorch['host']:.2f}"
        yield Bar("peak memory in training, Jittor / PyTorch", "<= 1.0", found)
    for name, side in zip(_OURS, (jittor, pytorch), strict=True):
        if "seconds" in side:
            share = sum(raw["overhead_s"].values()) / float(np.median(side["seconds"]))
            what = f"loader, noise and logging, share of a step, {name}"
            yield Bar(what, "<= 2 %", f"{share:.2%}")
    for engine, most in (("jittor", 6), ("pytorch", 4)):
        found = f"{raw['second_start_s'][engine]:.1f} s"
        yield Bar(f"second start to the first digits, {engine}", f"<= {most} s", found)


def _against_peer(results: dict[str, dict[str, Any]], names: tuple[str, ...]) -> str:
    """The largest of some entrants' speeds over the peer's, and its interval."""
    peer = results[PEER.name].get("seconds")
    measured = {n: results[n]["seconds"] for n in names if "seconds" in results.get(n, {})}
    if not peer or not measured:
        failed = any(name in results for name in names)
        return "failed" if failed else "not measured: this CPU has no bfloat16"
    fastest = max(measured, key=lambda name: ratio_of_medians(measured[name], peer)[0])
    return f"{ratio_text(measured[fastest], peer)}, {fastest}"


def _tail(seconds: list[float]) -> float:
    p50, p99 = np.percentile(seconds, (50, 99))
    return float(p99 / p50)
