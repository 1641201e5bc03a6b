"""How the threads of both frameworks wait for each other."""

import os


def limit_spinning() -> None:
    """Let OpenMP's threads sleep soon; to be called before a framework is loaded.

    At every barrier a thread that is done waits for the others. One that spins meanwhile keeps the
    core from whom it waits for as soon as anything else runs on the machine; one that sleeps has
    to be woken, which a small network's many barriers feel. Beside a busy
    process these rounds cost half of what libgomp's own 300,000 do: docs/performance.md.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
