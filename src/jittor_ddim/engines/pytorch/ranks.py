"""Several processes that train one network, by torch.distributed."""

import os
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta

import psutil
import torch
from torch import Tensor, distributed

from jittor_ddim.errors import EngineError, MachineError, why
from jittor_ddim.ranks import Rank

#: How long a rank waits for the others: the first may be drawing previews of a large network.
_PATIENCE = timedelta(minutes=30)
#: How long a machine may be out of reach; RFC 1122 (4.2.3.5) has TCP wait no less.
_SILENCE = timedelta(seconds=100)
_BUCKET = 2**25  # bytes in one message: the next is gathered while it travels


def meet(rank: Rank, device: str) -> None:
    """See :meth:`jittor_ddim.engines.primitives.Primitives.meet`."""
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise EngineError(
            f"{' and '.join(missing)}: unset; torchrun sets them, a script for srun names in them "
            "the machine of rank 0 and a free port: docs/scaling.md"
        )
    try:
        distributed.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            timeout=_PATIENCE,
            rank=rank.index,
            world_size=rank.size,
        )
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        in_use = "EADDRINUSE" in str(error)
        reason = "the port is in use; choose another MASTER_PORT" if in_use else why(error, 200)
        raise EngineError(f"the ranks cannot meet at {address}: {reason}") from error
    _watch_connections()


def _watch_connections() -> None:
    """Let Linux end this process's connections to machines that answer no more.

    A rank that only listens would not notice until its patience ends, and one that sends not for
    a quarter of an hour. A machine that is slow still answers: its kernel does. NCCL's connections
    come later and are not among these.
    """
    probe = int(_SILENCE.total_seconds()) // 4
    for connection in psutil.Process().net_connections("tcp"):
        with socket.fromfd(connection.fd, connection.family, connection.type) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, probe)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4 * probe * 1000)


@torch.no_grad()
def sum_over_ranks(arrays: Sequence[Tensor]) -> Sequence[Tensor]:
    """Overwrite arrays by their sums over all ranks and return them.

    They travel together in flat buffers, once the backward pass is over: docs/scaling.md tells
    what overlapping them with it would gain.
    """
    try:
        messages = []
        for bucket in _buckets(arrays):
            flat = torch.cat([array.reshape(-1) for array in bucket])
            messages.append((bucket, flat, distributed.all_reduce(flat, async_op=True)))
        for bucket, flat, message in messages:
            message.wait()
            parts = flat.split([array.numel() for array in bucket])
            for array, part in zip(bucket, parts, strict=True):
                array.copy_(part.view(array.shape))
    except RuntimeError as error:
        raise MachineError(f"another rank of this run has ended: {why(error, 200)}") from error
    return arrays


def _buckets(arrays: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Cut a sequence where a bucket is full."""
    bucket: list[Tensor] = []
    for array in arrays:
        bucket.append(array)
        if sum(one.nbytes for one in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
