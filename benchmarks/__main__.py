"""``python -m benchmarks [--quick] [--device cuda] [--out FOLDER]``, in the repository's root."""

import argparse
import json
import logging
from pathlib import Path

from benchmarks import cpu, gpu
from jittor_ddim.atomic import write_atomic


def main() -> None:
    """Measure everything, keep the figures, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="on a CPU: 3 rounds instead of 8")
    parser.add_argument("--batch", type=int, default=16, help="on a CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=60.0, help="on a GPU: start none after")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.device == "cuda":
        raw = gpu.measure_all(arguments.out, 60 * arguments.minutes)
        text = gpu.describe(raw)
    else:
        raw = cpu.measure_all(arguments.out, arguments.batch, 3 if arguments.quick else 8)
        text = cpu.describe(raw)
    write_atomic(arguments.out / "raw.json", json.dumps(raw, indent=1).encode())
    write_atomic(arguments.out / "table.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
