"""What is measured on a CPU."""

from pathlib import Path
from typing import Any

from benchmarks.contenders import samplers, trainers
from benchmarks.race import race
from benchmarks.start_time import second_starts
from benchmarks.table import promises, speeds
from jittor_ddim.hardware import describe_cpu

_CALLS = 2  # of the network in one sampling


def measure_all(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    """Return the figures of both tasks by contender, and of the start."""
    sampled = race(
        samplers(),
        folder / "sample",
        turn=lambda worker: worker.call("sample", batch=batch, calls=_CALLS, repeats=1),
        warm_up=lambda worker: worker.call("sample", batch=batch, calls=_CALLS, repeats=2),
        rounds=rounds,
    )
    trained = race(
        trainers(),
        folder / "train",
        turn=lambda worker: worker.call("train", batch=batch, repeats=1),
        warm_up=lambda worker: worker.call("train", batch=batch, repeats=3),
        rounds=rounds,
    )
    return {
        "machine": describe_cpu(),
        "batch": batch,
        "rounds": rounds,
        "sample": sampled,
        "train": trained,
        "second_start_s": second_starts(folder / "starts", "cpu"),
    }


def describe(raw: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    batch, starts = raw["batch"], raw["second_start_s"]
    lines = [
        f"Machine: {raw['machine']}. Batch {batch}, {raw['rounds']} interleaved rounds.",
        "",
        *promises(raw),
        "",
        *speeds("sample", raw["sample"], batch * _CALLS),
        "",
        *speeds("train", raw["train"], batch),
        "",
        *(f"Second start of `ddim sample` to the end, {e}: {s:.1f} s." for e, s in starts.items()),
    ]
    return "\n".join(lines) + "\n"
