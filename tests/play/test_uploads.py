"""Pictures on their way in: many, slow ones, ones given up; and what the terminal says."""

import logging
import socket
import threading
import time
import urllib.parse
from contextlib import suppress

import psutil
import pytest
from playing import png, serving

from jittor_ddim.play import app, bodies

pytestmark = pytest.mark.slow
SIZE = 19_000_000
ZEROS = memoryview(bytes(SIZE))  # one for all: the clients are in the server's process


@pytest.fixture
def terminal():
    """What the server prints."""
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("uvicorn.error")
    log.addHandler(handler)
    yield said
    log.removeHandler(handler)


def connect(server, head):
    where = urllib.parse.urlsplit(server.address)
    connection = socket.create_connection((where.hostname, where.port), timeout=20)
    connection.sendall("\r\n".join([*head, f"Host: {where.netloc}", "", ""]).encode())
    return connection


def upload(server, path="api/picture", size=SIZE, sent=SIZE - 1):
    """A connection on which a body stalls, as far as the server takes it."""
    connection = connect(server, [f"POST /{path} HTTP/1.1", f"Content-Length: {size}"])
    with suppress(OSError):  # refused, and closed
        connection.sendall(ZEROS[:sent])
    return connection


def answer(connection):
    found = b""
    with suppress(OSError):  # the rest of what was sent is not wanted
        while part := connection.recv(10_000):
            found += part
    return found


def test_fifty_stalled_uploads_take_bounded_memory_and_others_are_served(
    server, terminal, monkeypatch
):
    monkeypatch.setattr(bodies, "STALLED_SECONDS", 5)
    process, open_ones = psutil.Process(), []
    before = process.memory_info().rss
    threads = [
        threading.Thread(target=lambda: open_ones.append(upload(server))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    most = before
    until = time.monotonic() + 120
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < until
        most = max(most, process.memory_info().rss)
        time.sleep(0.02)
    assert server.about()["network"] == "digits"
    assert server.events({"timesteps": 2})[-1] == {"done": True}
    print(f"grown by {(most - before) / 1e6:.0f} MB")
    assert most - before < 300e6  # all fifty would be 950
    while server.post("api/picture", data=png()).status_code != 200:  # once they count as stalled
        assert time.monotonic() < until
        time.sleep(0.2)
    for connection in open_ones:
        connection.close()
    assert terminal == []


def test_no_more_is_taken_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_PICTURES_BYTES", 5_000_000)
    with serving(tmp_path) as server:
        stalled = upload(server, sent=4_900_000)
        time.sleep(0.3)
        found = server.post("api/picture", data=bytes(400_000))
        assert found.status_code == 503 and "try again in a minute" in found.json()["error"]
        assert server.about()["network"] == "digits"
        stalled.close()
        time.sleep(0.3)
        assert server.post("api/picture", data=png()).status_code == 200


def test_an_upload_that_stalls_is_ended(server, monkeypatch):
    monkeypatch.setattr(bodies, "STALLED_SECONDS", 0.3)
    for path in ("api/picture", "api/run"):
        connection = upload(server, path, 2000, 1000)
        found = answer(connection)
        connection.close()
        assert b" 408 " in found and b"send it again" in found


def test_an_upload_that_is_given_up_is_nothing_to_print(server, terminal):
    for path in ("api/picture", "api/run", "api/file/png"):
        upload(server, path, 2000, 1000).close()
    time.sleep(0.5)
    assert terminal == []


def test_a_websocket_is_nothing_to_print(server, terminal):
    head = [
        "GET /api/about HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    connection = connect(server, head)
    assert connection.recv(100).startswith(b"HTTP/1.1 ")
    connection.close()
    time.sleep(0.2)
    assert terminal == []
