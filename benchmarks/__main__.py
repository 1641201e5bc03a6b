"""``python -m benchmarks [--quick | --full | --gpu | --loading]``, in the repository's root."""

import argparse
import json
import logging
import shutil
from pathlib import Path

from benchmarks import cpu, gpu, loading
from jittor_ddim.atomic import write_atomic


def main() -> None:
    """Measure everything, keep the figures, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="batch 8, 3 rounds, fewer entrants")
    kind.add_argument("--full", action="store_true", help="batch 64, how the cost grows; resumes")
    kind.add_argument("--gpu", action="store_true", help="one of NVIDIA's; resumes")
    kind.add_argument("--loading", action="store_true", help="images of 256 x 256 from files")
    parser.add_argument("--minutes", type=float, help="with --gpu: start no entrant after")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    if arguments.minutes is not None and not arguments.gpu:
        parser.error("--minutes belongs to --gpu")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.gpu:
        folder = arguments.out / "gpu"
        raw = gpu.measure_all(folder, 60 * (arguments.minutes or float("inf")))
        text = gpu.describe(raw)
    elif arguments.loading:
        folder = arguments.out / "loading"
        raw = {"speed": loading.measure_loading(folder, rounds=5)}
        raw["share"] = loading.measure_share(folder, "pytorch")
        text = loading.describe(raw)
    elif arguments.full:
        folder = arguments.out / "full"
        raw = cpu.measure_all(folder, batch=64, rounds=4) | cpu.measure_growth(folder)
        text = cpu.describe(raw)
    else:
        folder = arguments.out / "cpu"
        shutil.rmtree(folder, ignore_errors=True)
        size = {"batch": 8, "rounds": 3} if arguments.quick else {"batch": 16, "rounds": 8}
        raw = cpu.measure_all(folder, **size, brief=arguments.quick)
        text = cpu.describe(raw)
    write_atomic(folder / "raw.json", json.dumps(raw, indent=1).encode())
    write_atomic(folder / "table.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
