"""How the threads of both frameworks wait for each other."""

import os


def limit_spinning() -> None:
    """Let OpenMP's threads sleep soon; to be called before a framework is loaded.

    Threads that spin for long while they wait keep the core from whom they wait for as soon as
    anything else runs on the machine: beside several busy processes steps of 0.06 s took 5 s.
    A digits step of Jittor on 2 cores with little else running: 85 ms with libgomp's own 300,000
    rounds, 90 to 96 with these 10,000, 118 to 155 without spinning.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
