"""Several processes that train one network, by torch.distributed."""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import psutil
import torch
from torch import Tensor, distributed

from jittor_ddim.errors import EngineError, MachineError, why
from jittor_ddim.ranks import Rank

#: How long a rank waits for the others: the first may be drawing previews of a large network.
_PATIENCE = timedelta(minutes=30)
#: How long a machine may be out of reach; RFC 1122 (4.2.3.5) has TCP wait no less.
_SILENCE = timedelta(seconds=100)
_BUCKET = 2**25  # bytes in one message, which travels while the next ones are computed


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


def sum_over_ranks(arrays: Sequence[Tensor]) -> Sequence[Tensor]:
    """Overwrite arrays by their sums over all ranks and return them."""
    for message in [_Message([arrays[n] for n in bucket]) for bucket in _buckets(arrays)]:
        message.receive()
    return arrays


def differentiate(
    loss: Tensor, parameters: Sequence[Tensor], before: Sequence[Tensor], order: Sequence[int]
) -> Callable[[], Sequence[Tensor]]:
    """See :meth:`jittor_ddim.engines.primitives.Primitives.differentiate_over_ranks`.

    A message waits for those before it, so that each rank sends them in the same order, in
    whatever order its gradients become ready.
    """
    arrays, places = [loss.detach(), *parameters], [0, *(place + 1 for place in order)]
    in_order = [arrays[n] for n in places]
    buckets = deque([places[i] for i in bucket] for bucket in _buckets(in_order))
    own: dict[int, Tensor] = {}
    messages: list[_Message] = []

    def take(n: int, array: Tensor) -> None:
        own[n] = before[n] + array if before else array
        while buckets and all(place in own for place in buckets[0]):
            messages.append(_Message([own[place] for place in buckets.popleft()]))

    def receive() -> Sequence[Tensor]:
        for message in messages:
            message.receive()
        return [own[n] for n in range(len(own))]

    take(0, arrays[0])
    hooks = [one.register_hook(partial(take, n)) for n, one in enumerate(parameters, 1)]
    try:
        torch.autograd.grad(loss, list(parameters))
    finally:
        for hook in hooks:
            hook.remove()
    return receive


def _buckets(arrays: Sequence[Tensor]) -> Iterator[range]:
    """Cut a sequence where a bucket is full; return the places in it."""
    start, size = 0, 0
    for end, array in enumerate(arrays, 1):
        size += array.nbytes
        if size >= _BUCKET or end == len(arrays):
            yield range(start, end)
            start, size = end, 0


class _Message:
    """Arrays on their way to be summed over all ranks, in one flat buffer."""

    def __init__(self, arrays: Sequence[Tensor]) -> None:
        """Send them; the ranks must do so in the same order."""
        self._arrays = arrays
        self._flat = torch.cat([array.reshape(-1) for array in arrays])
        with _telling_who_ended():
            self._sum = distributed.all_reduce(self._flat, async_op=True)

    @torch.no_grad()
    def receive(self) -> None:
        """Overwrite the arrays by their sums."""
        with _telling_who_ended():
            self._sum.wait()  # pyright: ignore[reportOptionalMemberAccess]
        parts = self._flat.split([array.numel() for array in self._arrays])
        for array, part in zip(self._arrays, parts, strict=True):
            array.copy_(part.view(array.shape))


@contextmanager
def _telling_who_ended() -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError:  # a RuntimeError too, but of this rank
        raise
    except RuntimeError as error:
        raise MachineError(f"another rank of this run has ended: {why(error, 200)}") from error
