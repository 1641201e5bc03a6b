"""Several processes that train one network, by Jittor's own MPI."""

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import Var, compile_extern

from jittor_ddim.errors import EngineError
from jittor_ddim.ranks import Rank


def meet(rank: Rank) -> None:
    """Check that Jittor, as it started, met the ranks that the launcher told."""
    mpi = compile_extern.mpi
    if mpi is None or (mpi.world_rank(), mpi.world_size()) != (rank.index, rank.size):
        raise EngineError(
            "Jittor's MPI is another than this mpirun's; install openmpi-bin and libopenmpi-dev "
            "of one version, and name its compiler in mpicc_path"
        )


def sum_over_ranks(arrays: Sequence[Var]) -> Sequence[Var]:
    """Return the sums of arrays, which travel together in one flat buffer.

    It is gathered in NumPy: Jittor would compile a kernel for every list of shapes, and would be
    free to send several buffers in another order on another rank.
    """
    hosted = [array.numpy() for array in arrays]
    flat = jt.array(np.concatenate([array.ravel() for array in hosted]))
    total = flat.mpi_all_reduce("add").numpy()
    ends = np.cumsum([array.size for array in hosted])
    parts = zip(np.split(total, ends[:-1]), hosted, strict=True)
    sums = [jt.array(part.reshape(array.shape)).stop_grad() for part, array in parts]
    jt.sync(sums)  # left lazy, one of one element would be a constant of code: see assign
    return sums
