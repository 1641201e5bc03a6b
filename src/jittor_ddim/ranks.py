"""Which of several processes this one is, as the program that started them tells."""

import hashlib
import os
from dataclasses import dataclass

from jittor_ddim.errors import UserError

#: The launcher of the option `workers`.
WORKERS = "workers"
#: Of each launcher: the variables that hold a process's number, how many there are, its number
#: among those of its machine, and how many these are. Slurm describes a whole job by SLURM_NTASKS,
#: in the job's script too, but by SLURM_STEP_NUM_TASKS only what srun started.
_LAUNCHERS = {
    WORKERS: ("DDIM_WORKER", "DDIM_WORKERS", "DDIM_LOCAL_WORKER", "DDIM_LOCAL_WORKERS"),
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "mpirun": tuple(
        f"OMPI_COMM_WORLD_{what}" for what in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    ),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}
#: What tells one launch from another that runs beside it.
_LAUNCH = (
    "DDIM_WORKERS_OF", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "PMIX_NAMESPACE",
    "SLURM_JOB_ID", "SLURM_STEP_ID",
)  # fmt: skip


@dataclass(frozen=True)
class Rank:
    """One of several processes that work together; the only one where no launcher started it."""

    index: int = 0  #: 0 … size - 1
    size: int = 1
    local: int = 0  #: the number among those of the same machine
    launcher: str = ""  #: "workers", "torchrun", "mpirun", "mpiexec", "srun" or none
    local_size: int = 1  #: how many there are on the same machine

    @property
    def is_first(self) -> bool:
        """Whether this one writes, logs and asks for all."""
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    def share(self, count: int) -> range:
        """Return which of so many equal pieces of work are this one's, a stretch of them.

        Stretches differ by one piece at most, the first are the longer ones.
        """
        short, longer = divmod(count, self.size)
        start = self.index * short + min(self.index, longer)
        return range(start, start + short + (self.index < longer))


def is_restartable() -> bool:
    """Tell whether the launcher starts these processes again by itself when some have ended.

    torchrun does so within ``--max_restarts``, and uncounted when a machine joins or leaves; a
    requeued job of Slurm's was started again. What was trained must then be continued, never
    replaced.
    """
    counts = (os.environ.get(n, "") for n in ("TORCHELASTIC_MAX_RESTARTS", "SLURM_RESTART_COUNT"))
    return any(count not in ("", "0") for count in counts)


def this_rank() -> Rank:
    """Return this process's rank, by the environment that its launcher gave it.

    :raises UserError: if the variables contradict each other
    """
    for launcher, names in _LAUNCHERS.items():
        index, size = (os.environ.get(name) for name in names[:2])
        if index is None or size is None or (launcher == "srun" and _mpiexec_told_otherwise()):
            continue
        local = os.environ.get(names[2], "0")
        try:
            beside = _on_this_machine(os.environ.get(names[3], "1"))
            rank = Rank(int(index), int(size), int(local), launcher, beside)
        except ValueError:
            rank = None
        if rank is None or not (0 <= rank.index < rank.size and rank.local >= 0):
            said = f"{names[0]}={index}, {names[1]}={size}, {names[2]}={local}"
            raise UserError(f"{said} is no rank of {launcher}; unset them, or start with it")
        return rank
    return Rank()


def _mpiexec_told_otherwise() -> bool:
    """Whether srun started mpiexec's helpers, one on each machine, and these started the ranks.

    ``srun --mpi=pmi2`` sets mpiexec's variables too, to the same numbers as its own.
    """
    names = zip(_LAUNCHERS["mpiexec"][:2], _LAUNCHERS["srun"][:2], strict=True)
    told = [(os.environ.get(one), os.environ.get(other)) for one, other in names]
    return all(one is not None for one, _ in told) and any(one != other for one, other in told)


def _on_this_machine(told: str) -> int:
    """Return a count, of which Slurm says "2(x3),1": two on each of three machines, then one."""
    counts: list[int] = []
    for part in told.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts[min(int(os.environ.get("SLURM_NODEID", 0)), len(counts) - 1)]


def launch() -> str:
    """Return a name that all processes of one launch have in common, fit for a folder."""
    told = [f"{name}={os.environ.get(name)}" for name in _LAUNCH]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:12]


def hide_launcher(rank: Rank) -> None:
    """Tell this process's rank by our own variables from now on, for a job that needs no group.

    A framework that finds mpirun's starts its MPI, or fails where it has none.
    """
    if rank.launcher == "torchrun" and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # torchrun's, not the user's
    for names in _LAUNCHERS.values():
        for name in names:
            os.environ.pop(name, None)
    os.environ.update(environment(rank, rank.launcher))


def environment(rank: Rank, of: str) -> dict[str, str]:
    """Return the variables that tell a worker its rank.

    :param of: the launch's name
    """
    told = (rank.index, rank.size, rank.local, rank.local_size, of)
    return dict(zip((*_LAUNCHERS[WORKERS], _LAUNCH[0]), map(str, told), strict=True))
