"""Which of several processes this one is, as the program that started them tells."""

import os
import re
from dataclasses import dataclass

from jittor_ddim.errors import UserError

#: Of each launcher: the variables that hold a process's number, how many there are, its number
#: among those of its machine, and how many these are. Slurm describes a whole job by SLURM_NTASKS,
#: in the job's script too, but by SLURM_STEP_NUM_TASKS only what srun started.
_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "mpirun": tuple(
        f"OMPI_COMM_WORLD_{what}" for what in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    ),
    "mpiexec": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
}


@dataclass(frozen=True)
class Rank:
    """One of several processes that work together; the only one where no launcher started it."""

    index: int = 0  #: 0 … size - 1
    size: int = 1
    local: int = 0  #: the number among those of the same machine
    launcher: str = ""  #: "torchrun", "mpirun", "mpiexec", "srun" or none
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
        if index is None or size is None:
            continue
        local = os.environ.get(names[2], "0")
        # Slurm says "2(x3),1" for two on each of three machines and one on the last.
        beside = re.split(r"[(,]", os.environ.get(names[3], "1"))[0]
        try:
            rank = Rank(int(index), int(size), int(local), launcher, int(beside))
        except ValueError:
            rank = None
        if rank is None or not (0 <= rank.index < rank.size and rank.local >= 0):
            said = f"{names[0]}={index}, {names[1]}={size}, {names[2]}={local}"
            raise UserError(f"{said} is no rank of {launcher}; unset them, or start with it")
        return rank
    return Rank()
