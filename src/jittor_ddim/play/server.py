"""A server on one port of this machine, until Ctrl-C."""

import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from jittor_ddim.errors import UserError


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Yield a socket that listens, and the address to open in a browser.

    :param port: 0: any that is free
    :raises UserError: if the port is in use or not for us, or the host is not this machine
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"`host` {host}: {error.strerror}; leave it out") from None
    with socket.socket(family, socket.SOCK_STREAM) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            found.bind(address)
            found.listen(128)
        except OSError as error:
            raise _explain(error, host, port) from None
        shown = f"[{host}]" if ":" in host else host
        yield found, f"http://{shown}:{found.getsockname()[1]}/"


class Server(uvicorn.Server):
    """Ends the streams itself before it closes; else they would go on until they are cut."""

    def __init__(self, app: ASGIApp, end_streams: Callable[[], None]) -> None:
        """:param end_streams: called once SIGINT or SIGTERM has come"""
        super().__init__(_settings(app))
        self._end_streams = end_streams
        logging.getLogger("uvicorn.error").addFilter(_is_for_us)  # after it has been set up

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; see :class:`uvicorn.Server`."""
        self._end_streams()
        await super().shutdown(sockets)


def _settings(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def _is_for_us(record: logging.LogRecord) -> bool:
    """Whether a message is of use: the page has no WebSocket, and needs none to be installed."""
    text = record.getMessage()
    return "WebSocket library" not in text and "Unsupported upgrade" not in text


def _explain(error: OSError, host: str, port: int) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(
            f"`port` {port}: in use, perhaps by another `ddim play`; choose another one, or 0 for "
            "any that is free"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(f"`port` {port}: not for ordinary users; choose one from 1024 on")
    return UserError(f"`host` {host}: {error.strerror}; leave it out, or name this machine")
