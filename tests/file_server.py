"""An HTTP server on this machine that serves files, and misbehaves as it is told."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served, and how; a test changes it between requests."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)  # by path, without the first slash
    ranges: bool = True  # whether a Range is heeded
    etag: str | None = None  # quotes included
    modified: str | None = None
    versioned: set[int] = field(default_factory=lambda: {200, 206, 304, 416})  # by status
    length: bool = True  # whether an answer says how long it is
    cuts: list[int] = field(default_factory=list)  # bytes of the body after which the next end
    statuses: list[int] = field(default_factory=list)  # that the next are answered with
    #: Path, Range and bytes of the body, of every request.
    requests: list[tuple[str, str | None, int]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve on 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(server, self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = FileServer(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def answer(server: FileServer, request: BaseHTTPRequestHandler) -> None:
    """Answer one request."""
    path, wanted = request.path.lstrip("/"), request.headers.get("Range")
    content = server.files.get(path)
    status = server.statuses.pop(0) if server.statuses else 200 if content is not None else 404
    body, headers = content or b"", {}
    if status != 200:
        body = b"an error page"
    elif wanted and server.ranges:
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # pyright: ignore
        status, body = (206, body[start:]) if start < len(body) else (416, b"")
        headers["Content-Range"] = f"bytes {start}-{len(content or b'') - 1}/{len(content or b'')}"
    headers |= {"Content-Length": str(len(body))} if server.length else {}
    if status in server.versioned:
        headers |= {"ETag": server.etag} if server.etag else {}
        headers |= {"Last-Modified": server.modified} if server.modified else {}
    sent = body[: server.cuts.pop(0)] if server.cuts else body
    server.requests.append((path, wanted, len(sent)))
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(sent)
