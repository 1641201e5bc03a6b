"""What is measured on a CPU."""

from pathlib import Path
from typing import Any

from benchmarks.bars import bars
from benchmarks.contenders import Contender, samplers, trainers
from benchmarks.overhead import overhead
from benchmarks.race import race
from benchmarks.start_time import second_starts
from benchmarks.table import promises, speeds
from jittor_ddim.hardware import describe_cpu

_CALLS = 2  # of the network in one sampling
#: Whose steps are counted for their steadiness: 200 of a network that takes 0.1 s a step.
_STEADY = {"config": "digits.yml", "batch": 64, "repeats": 20}
_STEADY_ROUNDS = 10


def measure_all(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    """Return the figures of both tasks by contender, of steadiness, overhead and start."""
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
    steady = race(
        [Contender("pytorch"), Contender("jittor")],
        folder / "steady",
        turn=lambda worker: worker.call("train", **_STEADY),
        warm_up=lambda worker: worker.call("train", **_STEADY),
        rounds=_STEADY_ROUNDS,
    )
    return {
        "machine": describe_cpu(),
        "batch": batch,
        "rounds": rounds,
        "sample": sampled,
        "train": trained,
        "steady": steady,
        "overhead_s": overhead(folder / "overhead", batch),
        "second_start_s": second_starts(folder / "starts", "cpu"),
    }


def describe(raw: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    batch = raw["batch"]
    lines = [
        f"Machine: {raw['machine']}. Batch {batch}, {raw['rounds']} interleaved rounds.",
        "",
        *promises(bars(raw)),
        "",
        *speeds("sample", raw["sample"], batch * _CALLS),
        "",
        *speeds("train", raw["train"], batch),
    ]
    return "\n".join(lines) + "\n"
