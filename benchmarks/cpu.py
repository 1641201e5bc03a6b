"""What is measured on a CPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import roofline
from benchmarks.bars import bars
from benchmarks.contenders import Contender, samplers, trainers
from benchmarks.overhead import overhead
from benchmarks.plots import draw_scaling
from benchmarks.race import race
from benchmarks.scaling import measure_scaling
from benchmarks.start_time import second_starts
from benchmarks.table import promises, speeds
from jittor_ddim.atomic import write_atomic
from jittor_ddim.hardware import describe_cpu

_CALLS = 2  # of the network in one sampling
#: Whose steps are looked at for their steadiness: 200 of a network that takes 0.1 s a step.
_STEADY = {"config": "digits.yml", "batch": 64, "repeats": 20}
_STEADY_ROUNDS = 10


def measure_all(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    """Return the figures of both tasks by contender, of steadiness, overhead and start.

    Each part is kept in the folder, and one that is there is not measured again.
    """

    def kept(name: str, measure: Callable[[Path], Any]) -> Any:
        path = folder / f"{name}.json"
        if not path.exists():
            write_atomic(path, json.dumps(measure(folder / name), indent=1).encode())
        return json.loads(path.read_text())

    return {
        "machine": describe_cpu(),
        "batch": batch,
        "rounds": rounds,
        "sample": kept("sample", lambda place: _race_sampling(place, batch, rounds)),
        "train": kept("train", lambda place: _race_training(place, batch, rounds)),
        "steady": kept("steady", _race_steadiness),
        "overhead_s": kept("overhead", lambda place: overhead(place, batch)),
        "second_start_s": kept("starts", lambda place: second_starts(place, "cpu")),
        "roofline": kept("roofline", lambda place: roofline.measure_roofline(place, batch)),
    }


def measure_growth(folder: Path) -> dict[str, Any]:
    """Return how the cost grows, and draw it."""
    measured = measure_scaling(folder / "scaling")
    draw_scaling(measured, folder / "scaling.png")
    return {"scaling": measured}


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
        "",
        *roofline.describe(raw["roofline"]),
    ]
    return "\n".join(lines) + "\n"


def _race_sampling(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    return race(
        samplers(),
        folder,
        turn=lambda worker: worker.call("sample", batch=batch, calls=_CALLS, repeats=1),
        warm_up=lambda worker: worker.call("sample", batch=batch, calls=_CALLS, repeats=2),
        rounds=rounds,
    )


def _race_training(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    return race(
        trainers(),
        folder,
        turn=lambda worker: worker.call("train", batch=batch, repeats=1),
        warm_up=lambda worker: worker.call("train", batch=batch, repeats=3),
        rounds=rounds,
    )


def _race_steadiness(folder: Path) -> dict[str, Any]:
    return race(
        [Contender("pytorch"), Contender("jittor")],
        folder,
        turn=lambda worker: worker.call("train", **_STEADY),
        warm_up=lambda worker: worker.call("train", **_STEADY),
        rounds=_STEADY_ROUNDS,
    )
