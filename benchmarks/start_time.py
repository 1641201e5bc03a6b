"""How long ``ddim sample`` takes from the shell to an image, when everything is cached."""

import subprocess
import sys
import time
from pathlib import Path

_DDIM = [sys.executable, "-c", "import sys; from jittor_ddim.cli import main; sys.exit(main())"]
_LOUD = ["--verbose", "error", "--ni"]


def second_starts(folder: Path) -> dict[str, float]:
    """Return the seconds of a second ``ddim sample --grid`` of the digits, by engine.

    The network is one of three training steps; ten network calls are part of the time.
    """
    exp = ["--exp", str(folder), "--doc", "digits"]
    train = ["train", "--config", "digits.yml", *exp, "--set", "training.n_iters=3", *_LOUD]
    subprocess.run([*_DDIM, *train, "--device", "cpu"], check=True, capture_output=True)
    seconds = {}
    for engine in ("jittor", "pytorch"):
        sample = ["sample", "--grid", *exp, "--timesteps", "10", "--num_samples", "4", *_LOUD]
        for _ in range(2):
            start = time.perf_counter()
            command = [*_DDIM, *sample, "--engine", engine, "--device", "cpu"]
            subprocess.run(command, check=True, capture_output=True)
            seconds[engine] = time.perf_counter() - start
    return seconds
