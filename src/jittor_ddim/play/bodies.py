"""The bodies of requests: how large one may be, how long it may take, and all of them in memory.

A body is held here until it has been used, so that many uploads, also those that stall, take no
more memory than there is room for.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import fail_after
from starlette.requests import Request

from jittor_ddim.play.said import Said

#: After which a body of which nothing comes is given up, and one that is not whole.
STALLED_SECONDS, MOST_SECONDS = 10.0, 120.0


class Refused(Said):
    """A body that is not read to its end."""

    def __init__(self, key: str, message: str, status: int, **values: float) -> None:
        """See :class:`.Said`.

        :param status: of the answer, as HTTP numbers them
        """
        super().__init__(key, message, **values)
        self.status = status


class Room:
    """The memory for bodies of one kind."""

    def __init__(self, most: int, together: int) -> None:
        """:param most: bytes of one body

        :param together: of all
        """
        self._most, self._together, self._taken = most, together, 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a request's body; what is beyond the limits is not read.

        :raises Refused: naming the limit
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._most:
            raise self._too_large()
        parts: list[bytes] = []
        taken = 0

        def take(part: bytes) -> None:
            nonlocal taken
            # What comes counts, not what is announced: who sends nothing keeps nobody out.
            parts.append(part)
            taken += len(part)
            self._taken += len(part)
            if taken > self._most:
                raise self._too_large()
            if self._taken > self._together:
                raise Refused("busy", "others are sending much; try again in a minute", 503)

        try:
            await _receive(request, take)
            whole = b"".join(parts)
            parts.clear()
            yield whole
        finally:
            self._taken -= taken

    def _too_large(self) -> Refused:
        size = self._most / 1e6
        return Refused("too_large", f"more than {size:g} MB; send less", 413, size=size)


async def _receive(request: Request, take: Callable[[bytes], None]) -> None:
    """Call ``take`` with every part of a body as it comes."""
    stream = request.stream()
    try:
        with fail_after(MOST_SECONDS):
            while True:
                with fail_after(STALLED_SECONDS):
                    part = await anext(stream, b"")
                if not part:
                    return
                take(part)
    except TimeoutError:
        message = "the request does not come to its end; send it again"
        raise Refused("stalled", message, 408) from None
