"""What is measured on a CPU."""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import roofline
from benchmarks.bars import promises
from benchmarks.entrants import Entrant, principals, samplers, trainers
from benchmarks.kept import kept
from benchmarks.overhead import overhead
from benchmarks.plots import draw_scaling
from benchmarks.race import race
from benchmarks.scaling import measure_scaling
from benchmarks.start_time import second_starts
from benchmarks.table import speeds
from jittor_ddim.hardware import describe_cpu

_CALLS = 2  # of the network in one sampling
#: Whose steps are looked at for their steadiness: a network that takes 0.1 s a step.
_STEADY = {"config": "digits.yml", "batch": 64}


def measure_all(folder: Path, batch: int, rounds: int, brief: bool = False) -> dict[str, Any]:
    """Return the figures of both tasks by entrant, of steadiness, overhead and start.

    Each part is kept in the folder, and one that is there is not measured again.

    :param brief: race the principals alone, after one warm-up; no roofline
    """
    racing = partial(race, repeats=1, rounds=rounds)
    sample = partial(
        racing,
        principals() if brief else samplers(),
        task="sample",
        given={"batch": batch, "calls": _CALLS},
        warm_ups=1 if brief else 2,
    )
    train = partial(
        racing,
        principals() if brief else trainers(),
        task="train",
        given={"batch": batch},
        warm_ups=1 if brief else 3,
    )
    both = [Entrant("pytorch"), Entrant("jittor")]
    steady = partial(race, both, task="train", given=_STEADY, repeats=20, warm_ups=20)
    parts = {
        "sample": sample,
        "train": train,
        "steady": partial(steady, rounds=4 if brief else 10),
        "overhead_s": partial(overhead, batch=batch),
        "second_start_s": partial(second_starts, count=1 if brief else 5),
    }
    if not brief:
        parts["roofline"] = partial(roofline.measure_roofline, batch=batch)
    found = {
        name: kept(folder / f"{name}.json", partial(measure, folder=folder / name))
        for name, measure in parts.items()
    }
    return {"machine": describe_cpu(), "batch": batch, "rounds": rounds, **found}


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
        *promises(raw),
        "",
        *speeds("sample", "images x calls", raw["sample"], batch * _CALLS),
        "",
        *speeds("train", "images", raw["train"], batch),
        "",
        *(roofline.describe(raw["roofline"]) if "roofline" in raw else []),
    ]
    return "\n".join(lines) + "\n"
