"""The environment of a process before a framework is loaded."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jittor_ddim.errors import EngineError
from jittor_ddim.hardware import count_gpus
from jittor_ddim.ranks import WORKERS, Rank

_log = logging.getLogger(__name__)

#: Variables that must not reach the libraries every framework calls, by the reason.
LIBRARIES = {
    "it would write between this program's results": "DNNL_VERBOSE ONEDNN_VERBOSE MKL_VERBOSE",
    "`precision` decides": "DNNL_DEFAULT_FPMATH_MODE ONEDNN_DEFAULT_FPMATH_MODE",
}


def leave_out(reasons: Mapping[str, str]) -> None:
    """Remove variables from this process's environment, and log those that were set.

    :param reasons: by the reason, the names, separated by blanks
    """
    for reason, names in reasons.items():
        if found := [name for name in names.split() if os.environ.pop(name, "")]:
            _log.warning("Ignored from the environment: %s (%s)", ", ".join(found), reason)


@contextmanager
def setting(**variables: str) -> Iterator[None]:
    """Give variables these values meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def take_share(rank: Rank, device: str) -> None:
    """Give a rank its share of its machine's cores and its GPU; call it before a framework.

    Ranks that train together need a GPU each; workers may share one.

    torchrun sets OMP_NUM_THREADS to 1 where it is unset, on whatever machine, so 1 counts as unset
    there. mpirun and srun may have bound the process to its cores already.

    :param device: ``auto``, ``cpu`` or ``cuda``
    :raises EngineError: if the machine has fewer GPUs than ranks, but has some
    """
    if rank.is_alone:
        return
    cores = len(os.sched_getaffinity(0))
    machine = cores if rank.launcher == "torchrun" else os.cpu_count() or cores
    unset = ("", "1") if rank.launcher == "torchrun" else ("",)
    if os.environ.get("OMP_NUM_THREADS", "") in unset:
        os.environ["OMP_NUM_THREADS"] = str(max(1, min(cores, machine // rank.local_size)))
    if device == "cpu":
        return
    shown = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    gpus = shown or [str(number) for number in range(count_gpus())]
    if len(gpus) > 1 and rank.local_size > 1:  # one alone may be the launcher's share already
        if rank.local_size > len(gpus) and rank.launcher != WORKERS:
            raise EngineError(
                f"{rank.local_size} ranks on a machine with {len(gpus)} GPUs; start one for each, "
                "or set `device` cpu"
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[rank.local % len(gpus)]


def limit_spinning() -> None:
    """Let OpenMP's threads sleep soon; call it before a framework is loaded.

    At every barrier a finished thread waits for the others. One that spins takes the core from
    the thread it waits for as soon as anything else runs on the machine; one that sleeps must be
    woken, which a small network's many barriers feel. Beside a busy process this many rounds cost
    half of what libgomp's default of 300,000 does: docs/performance.md.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
