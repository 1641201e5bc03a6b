"""``python -m benchmarks [--quick | --full] [--device cuda]``, in the repository's root."""

import argparse
import json
import logging
import shutil
from pathlib import Path

from benchmarks import cpu, gpu
from jittor_ddim.atomic import write_atomic


def main() -> None:
    """Measure everything, keep the figures, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="on a CPU: 3 rounds instead of 8")
    parser.add_argument(
        "--full", action="store_true", help="on a CPU: batch 64 and how the cost grows; resumes"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="on a GPU: start none after")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    kind = "gpu" if arguments.device == "cuda" else "full" if arguments.full else "cpu"
    folder = arguments.out / kind
    if kind == "gpu":
        raw = gpu.measure_all(folder, 60 * arguments.minutes)
        text = gpu.describe(raw)
    else:
        if kind == "cpu":
            shutil.rmtree(folder, ignore_errors=True)
        batch, rounds = (64 if arguments.full else 16), (3 if arguments.quick else 8)
        raw = cpu.measure_all(folder, batch, rounds)
        raw |= cpu.measure_growth(folder) if arguments.full else {}
        text = cpu.describe(raw)
    write_atomic(folder / "raw.json", json.dumps(raw, indent=1).encode())
    write_atomic(folder / "table.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
