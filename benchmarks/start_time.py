"""How long ``ddim sample`` takes from the shell to an image, when everything is cached."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

_DDIM = [sys.executable, "-c", "import sys; from jittor_ddim.cli import main; sys.exit(main())"]
_QUIET = ["--verbose", "error", "--ni"]


def second_starts(folder: Path, count: int) -> dict[str, float]:
    """Return the seconds of a later ``ddim sample --grid`` of the digits, by engine.

    Medians of ``count``, after a first that may compile; one may take half as long again as
    another. The network is one of three training steps; ten calls of it are part of the time.
    """
    exp = ["--exp", str(folder), "--doc", "digits"]
    train = ["train", "--config", "digits.yml", *exp, "--set", "training.n_iters=3", *_QUIET]
    subprocess.run([*_DDIM, *train, "--device", "cpu"], check=True, capture_output=True)
    seconds = {}
    for engine in ("jittor", "pytorch"):
        sample = ["sample", "--grid", *exp, "--timesteps", "10", "--num_samples", "4", *_QUIET]
        starts = []
        for _ in range(1 + count):
            start = time.perf_counter()
            command = [*_DDIM, *sample, "--engine", engine, "--device", "cpu"]
            subprocess.run(command, check=True, capture_output=True)
            starts.append(time.perf_counter() - start)
        seconds[engine] = statistics.median(starts[1:])
    return seconds
