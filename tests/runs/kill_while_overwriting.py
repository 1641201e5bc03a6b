"""Overwrites a run and is killed at every instant; test_runs.py runs it as a process."""

import shutil
import sys
from pathlib import Path

from killing import finishes

from jittor_ddim.config import Config, load_config, parse_config
from jittor_ddim.runs.folder import Run


def _finishes(run: Run, new: Config, instant: int) -> tuple[bool, int | None]:
    """Kill an overwriting at one instant; return whether it was done, and whose run is there."""
    finished = finishes(lambda: run.create(new, resume=False), instant)
    size = None
    if run.log_folder.exists():
        size = load_config(run.config_path).data.image_size
        assert (run.log_folder / "metrics.jsonl").exists() == (size == 32), f"instant {instant}"
    run.create(new, resume=False)
    names = [path.name for path in run.log_folder.parent.iterdir()]
    assert names == ["c10"], f"instant {instant}: {names}"
    return finished, size


def main(exp: Path) -> None:
    """Print at each instant the image size of the run that is there."""
    old, new = (
        parse_config({"data": {"dataset": "DIGITS", "image_size": size}}, "test")
        for size in (32, 16)
    )
    run = Run.at(exp, "c10")
    finished, instant = False, 0
    while not finished:
        shutil.rmtree(exp, ignore_errors=True)
        run.create(old, resume=False)
        run.metrics_path.write_text("{}")
        finished, size = _finishes(run, new, instant)
        print(size)
        instant += 1


main(Path(sys.argv[1]))
