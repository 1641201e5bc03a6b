"""Several processes that train one network, by torch.distributed."""

import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import psutil
import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore

from jittor_ddim.errors import EngineError, MachineError, why
from jittor_ddim.ranks import Rank

#: How long the ranks wait for each other to start.
_MEETING = timedelta(minutes=5)
#: How long a rank waits for the others: the first may be drawing previews of a large network.
_PATIENCE = timedelta(minutes=30)
#: How long a machine may be out of reach; RFC 1122 (4.2.3.5) has TCP wait no less.
_SILENCE = timedelta(seconds=100)
_BUCKET = 2**25  # bytes in one message, which travels while the next ones are computed
_LOOK_S = 0.1


def meet(rank: Rank, device: str) -> None:
    """See :meth:`jittor_ddim.engines.primitives.Primitives.meet`."""
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise EngineError(
            f"{' and '.join(missing)}: unset; torchrun sets them, a script for srun names in them "
            "the machine of rank 0 and a free port: docs/scaling.md"
        )
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    end = time.monotonic() + _MEETING.total_seconds()
    try:
        store = _find_store(rank, host, int(port), end)
        distributed.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            store=PrefixStore(_attempt(store, rank, end), store),
            timeout=_PATIENCE,
            rank=rank.index,
            world_size=rank.size,
        )
    except (RuntimeError, ValueError, TimeoutError) as error:
        in_use = "EADDRINUSE" in str(error)
        reason = "the port is in use; choose another MASTER_PORT" if in_use else why(error, 200)
        raise EngineError(f"the ranks cannot meet at {host}:{port}: {reason}") from error
    _watch_connections()


def _find_store(rank: Rank, host: str, port: int, end: float) -> Store:
    """Return the store by which ranks find each other; torchrun keeps one, or the first rank does.

    A thread looks for it: torch waits without an end for a program that takes the connection and
    never answers.

    :raises TimeoutError: if none has answered at this end
    """
    found: list[Store | Exception] = []
    is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"

    def look() -> None:
        try:
            found.append(
                TCPStore(
                    host,
                    port,
                    rank.size,
                    is_master=rank.is_first and not is_kept,
                    timeout=_PATIENCE,
                    wait_for_workers=False,
                    multi_tenant=True,
                )
            )
        except Exception as error:
            found.append(error)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(end - time.monotonic())
    if not found:
        raise TimeoutError(
            f"rank 0 has not answered there for {_MEETING.total_seconds():.0f} s; it may not have "
            "started, MASTER_ADDR may be another machine's, MASTER_PORT another program's"
        )
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _attempt(store: Store, rank: Rank, end: float) -> str:
    """Return a name that the ranks which run now have in common, and none that has ended.

    torchrun's store outlives the ranks: after a restart it holds the addresses of those that have
    ended. TORCHELASTIC_RESTART_COUNT does not tell the attempts apart, as each machine counts by
    itself. So the first rank draws a name, and answers those that greet it by this name; one that
    has ended answers nobody.

    :raises TimeoutError: if some have not come at this end
    """
    own, greetings = secrets.token_hex(8), PrefixStore("ddim", store)
    missing = set(range(1, rank.size)) if rank.is_first else {0}
    if rank.is_first:
        greetings.set("first", own)
    while True:
        if rank.is_first:
            for other in [n for n in missing if greetings.check([f"{own}/{n}"])]:
                greetings.set(f"{own}/{greetings.get(f'{own}/{other}').decode()}", "welcome")
                missing.remove(other)
            if not missing:
                return own
        elif greetings.check(["first"]):
            first = greetings.get("first").decode()
            greetings.set(f"{first}/{rank.index}", own)
            if greetings.check([f"{first}/{own}"]):
                return first
        if time.monotonic() > end:
            who = "rank" if len(missing) == 1 else "ranks"
            raise TimeoutError(
                f"{who} {', '.join(map(str, sorted(missing)))} not there after "
                f"{_MEETING.total_seconds():.0f} s"
            )
        time.sleep(_LOOK_S)


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
