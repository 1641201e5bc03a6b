"""``python -m benchmarks [--quick] [--batch N] [--out FOLDER]``, from the repository's root."""

import argparse
import json
import logging
from pathlib import Path

from benchmarks.contenders import samplers, trainers
from benchmarks.race import race
from benchmarks.start_time import second_starts
from benchmarks.table import promises, speeds
from jittor_ddim.atomic import write_atomic
from jittor_ddim.hardware import describe_cpu

_CALLS = 2  # of the network in one sampling


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 8")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rounds = 3 if arguments.quick else 8
    sampled = race(
        samplers(),
        arguments.out / "sample",
        arguments.batch,
        arguments.device,
        turn=lambda worker: worker.call("sample", calls=_CALLS, repeats=1),
        warm_up=lambda worker: worker.call("sample", calls=_CALLS, repeats=2),
        rounds=rounds,
    )
    trained = race(
        trainers(),
        arguments.out / "train",
        arguments.batch,
        arguments.device,
        turn=lambda worker: worker.call("train", steps=1),
        warm_up=lambda worker: worker.call("train", steps=3),
        rounds=rounds,
    )
    starts = second_starts(arguments.out / "starts", arguments.device)
    machine = describe_cpu()
    raw = {"machine": machine, "batch": arguments.batch, "sample": sampled, "train": trained}
    content = json.dumps({**raw, "second_start_s": starts}, indent=1)
    write_atomic(arguments.out / "raw.json", content.encode())
    lines = [
        f"Machine: {machine}. Batch {arguments.batch}, {rounds} interleaved rounds.",
        "",
        *promises({"sample": sampled, "train": trained}),
        "",
        *speeds("sample", sampled, arguments.batch * _CALLS),
        "",
        *speeds("train", trained, arguments.batch),
        "",
        *(f"Second start of `ddim sample` to the end, {e}: {s:.1f} s." for e, s in starts.items()),
    ]
    text = "\n".join(lines) + "\n"
    write_atomic(arguments.out / "table.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
