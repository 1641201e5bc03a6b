"""What keeps other sites and machines out, and the page from asking anything of anybody else."""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Guard:
    """Refuses requests that name another host, which a site could point here, or come from one."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        """:param host: the address that the server listens at"""
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer with our headers."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if refused := self._refuse(Headers(scope=scope)):
            return await JSONResponse({"error": refused}, 403)(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        return await self._app(scope, receive, with_headers)

    def _refuse(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_here(host):
            return f"this server is not {host[:80]!r}; open it by the address that it printed"
        # What a foreign page embeds as an image or a script has no Origin; a link is a choice.
        embedded = (
            headers.get("sec-fetch-site") == "cross-site"
            and headers.get("sec-fetch-mode") != "navigate"
        )
        if embedded or (origin is not None and origin != f"http://{host}"):
            return "a request of another site"
        return None

    def _is_here(self, host: str) -> bool:
        """Whether a Host names this machine: a name that anybody can register does not count."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if is_loopback(name):
            return True
        return not is_loopback(self._host) and (
            name in (self._host.lower(), socket.gethostname().lower()) or _is_address(name)
        )


def is_loopback(name: str) -> bool:
    """Whether a host is this machine and reachable from nowhere else."""
    return name.lower() == "localhost" or (
        _is_address(name) and ipaddress.ip_address(name).is_loopback
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
