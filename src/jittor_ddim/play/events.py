"""A job's events between an engine's thread and a response, which may be slow to take them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

#: One of these is in the last event of a job.
LAST = {"done", "error", "cancelled"}
_MOST, _MOST_BYTES = 8, 4_000_000  # that wait


class Events:
    """A job's events on their way from an engine's thread to a response; few are kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[dict[str, Any]] = deque()
        self._arrived = asyncio.Event()

    def put(self, event: dict[str, Any]) -> None:
        """Take an event, in any thread; the oldest ones give way."""
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        while len(self._events) > _MOST or (
            len(self._events) > 2  # the last state and that it was the last
            and sum(map(_size, self._events)) > _MOST_BYTES
        ):
            self._events.popleft()
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what arrives, up to the last event."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._events:
                yield (event := self._events.popleft())
                if event.keys() & LAST:
                    return


def _size(event: dict[str, Any]) -> int:
    return sum(len(value) for value in event.values() if isinstance(value, str))
