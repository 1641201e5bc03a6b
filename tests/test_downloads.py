"""Downloads from a server that cuts, forgets, changes and lies."""

import hashlib
import logging
import os
import socket
import subprocess
import sys
import threading
from functools import partialmethod

import filelock
import numpy as np
import pytest
from file_server import serving
from urllib3.connectionpool import HTTPConnectionPool

from jittor_ddim import downloads
from jittor_ddim.downloads import download
from jittor_ddim.errors import DownloadError, MachineError, UserError

CHUNK = 64 * 1024  # at most so much is lost by a cut
CONTENT = np.random.default_rng(0).bytes(400_000)
OTHER = np.random.default_rng(1).bytes(400_000)


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def server():
    with serving() as server:
        server.files["f.bin"] = CONTENT
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "f.bin"


@pytest.fixture
def get(server, path):
    """Download what is served, and say what the progress was told."""

    def get(content=CONTENT, name="f.bin"):
        told = []
        download(
            f"{server.url}/{name}",
            path,
            f"md5:{md5(content)}",
            lambda *numbers: told.append(numbers),
        )
        assert path.read_bytes() == content
        assert visible(path) == {"f.bin"}
        return told

    return get


@pytest.fixture
def fails(server, path):
    """Check that the download fails with one line that names the address and this."""

    def fails(*messages, content=CONTENT):
        with pytest.raises(DownloadError) as caught:
            download(f"{server.url}/f.bin", path, f"md5:{md5(content)}")
        text = str(caught.value)
        assert text.startswith(f"{server.url}/f.bin: ") and "\n" not in text
        for message in messages:
            assert message in text
        assert not path.exists()

    return fails


def visible(path):
    return {other.name for other in path.parent.iterdir() if not other.name.startswith(".")}


def part(path):
    return path.with_name("f.bin.part").read_bytes()


@pytest.fixture
def interrupt(server, fails, path):
    """End a download in the middle, by a cut and then no server, and return how far it came."""

    def interrupt():
        server.cuts, server.statuses = [300_000], [200, 503]
        fails("503", "bytes are kept")
        server.requests.clear()
        kept = len(part(path))
        assert 300_000 - CHUNK < kept <= 300_000
        return kept

    return interrupt


def test_a_file_is_downloaded_once(get, server, path):
    told = get()
    assert told[0] == (0, 400_000) and told[-1] == (400_000, 400_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    get()
    assert server.requests == [("f.bin", None, 400_000)]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_cut_connection_is_made_again_for_the_missing_bytes_only(get, server):
    server.cuts = [300_000, 50_000, 99_000_000]
    server.etag = '"one"'
    get()
    starts = [int(wanted[6:-1]) if wanted else 0 for _, wanted, _ in server.requests]
    assert len(starts) == 3 and starts[0] == 0
    assert 300_000 - CHUNK < starts[1] <= 300_000
    assert starts[1] <= starts[2] <= 350_000
    assert server.requests[-1][2] == 400_000 - starts[2]


def test_a_part_is_kept_though_the_rest_tells_no_version(get, server):
    """As behind some proxies."""
    server.cuts, server.etag = [300_000], '"one"'
    server.versioned = {200}
    get()
    assert len(server.requests) == 2 and server.requests[-1][2] <= 100_000 + CHUNK


def test_an_interrupted_download_goes_on_in_the_next_run(get, server, path, interrupt):
    kept = interrupt()
    assert part(path) == CONTENT[:kept]
    told = get()
    assert server.requests == [("f.bin", f"bytes={kept}-", 400_000 - kept)]
    assert told[0] == (kept, 400_000)


def test_a_killed_process_leaves_what_it_had(get, server, path):
    script = f"""
import os, signal
from pathlib import Path
from jittor_ddim.downloads import download
def progress(done, total):
    if done > 200_000:
        os.kill(os.getpid(), signal.SIGKILL)
download({server.url + "/f.bin"!r}, Path({str(path)!r}), {f"md5:{md5(CONTENT)}"!r}, progress)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    size = len(part(path))
    assert size > 200_000 - CHUNK and part(path) == CONTENT[:size]
    get()
    assert server.requests[-1] == ("f.bin", f"bytes={size}-", 400_000 - size)


def test_a_complete_part_needs_no_network(get, server, path, interrupt):
    interrupt()
    path.with_name("f.bin.part").write_bytes(CONTENT)
    get()
    assert server.requests == []


def test_a_server_without_ranges_begins_again(get, server, interrupt):
    server.ranges = False
    interrupt()
    told = get()
    assert [sent for _, _, sent in server.requests] == [400_000]
    assert told[0] == (0, 400_000)


def test_a_server_that_always_cuts_at_one_place_is_given_up(fails, server):
    server.ranges, server.cuts = False, [300_000] * 9
    fails("the connection was cut", "bytes are kept")
    assert len(server.requests) == 2


@pytest.mark.parametrize("validators", [("etag", '"a"', '"b"'), ("modified", "Mon", "Tue")])
def test_a_changed_file_is_not_glued(get, server, validators, interrupt):
    name, before, after = validators
    setattr(server, name, before)
    interrupt()
    setattr(server, name, after)
    server.files["f.bin"] = OTHER
    get(OTHER)
    assert [wanted is None for _, wanted, _ in server.requests] == [False, True]


@pytest.mark.parametrize("content", [OTHER[:-1], OTHER + b"more"])
def test_nor_is_one_of_another_length(get, server, interrupt, content):
    kept = interrupt()
    server.files["f.bin"] = content
    get(content)
    assert [wanted for _, wanted, _ in server.requests] == [f"bytes={kept}-", None]


def test_a_cut_is_none_the_less_one_where_urllib3_takes_it_for_the_end(get, server, monkeypatch):
    """As its releases before 2.0 do."""
    lenient = partialmethod(HTTPConnectionPool._make_request, enforce_content_length=False)
    monkeypatch.setattr(HTTPConnectionPool, "_make_request", lenient)
    server.cuts = [300_000]
    get()
    assert [wanted for _, wanted, _ in server.requests] == [None, "bytes=300000-"]


def test_a_weak_etag_promises_nothing_and_a_shorter_file_neither(get, server, interrupt):
    server.etag, server.modified = 'W/"a"', "Mon"
    kept = interrupt()
    server.files["f.bin"] = CONTENT[: kept - 1]  # 416
    server.modified = None
    get(CONTENT[: kept - 1])
    assert [wanted for _, wanted, _ in server.requests] == [f"bytes={kept}-", None]


def test_a_glued_file_is_found_out_by_its_hash(fails, get, server, interrupt):
    """Nothing but the hash can tell: the same length, and a server that names no version."""
    interrupt()
    server.files["f.bin"] = OTHER
    fails("md5", content=OTHER)
    get(OTHER)


def test_a_wrong_file_is_deleted_and_both_hashes_named(fails, server, path, get):
    server.files["f.bin"] = b"<html>moved</html>"
    fails(f"expected md5 {md5(CONTENT)}, found {md5(b'<html>moved</html>')}")
    assert visible(path) == set()
    server.files["f.bin"] = CONTENT
    get()


def test_a_damaged_file_in_the_cache_is_replaced(get, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    get()


@pytest.mark.parametrize("status, text", [(404, "404 Not Found"), (503, "503 Service")])
def test_an_error_of_the_server(fails, server, status, text, path):
    server.statuses = [status]
    fails(text)
    assert visible(path) == set()
    assert len(server.requests) == 1


def test_no_server_at_all(path):
    with serving() as server:
        pass
    with pytest.raises(DownloadError, match=f"{server.url}/f.bin: no connection"):
        download(f"{server.url}/f.bin", path, f"md5:{md5(CONTENT)}")


@pytest.mark.parametrize(
    "url", ["nonsense/f", "ftp://127.0.0.1/f", "http://", "http://127.0.0.1:1/f"]
)
def test_an_address_that_leads_nowhere(url, path):
    with pytest.raises(DownloadError) as caught:
        download(url, path, f"md5:{md5(CONTENT)}")
    assert str(caught.value).startswith(url) and "\n" not in str(caught.value)


def test_a_server_that_is_silent(path, monkeypatch):
    monkeypatch.setattr(downloads, "_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        with pytest.raises(DownloadError, match=f"{url}: no answer for 0.05 seconds"):
            download(url, path, f"md5:{md5(CONTENT)}")


def test_a_server_that_does_not_say_how_long_the_file_is(get, server):
    server.length = False
    assert get() == []


def test_without_a_length_a_cut_file_is_wrong_and_nothing_to_go_on_with(fails, get, server):
    server.length, server.cuts = False, [300_000]
    fails("md5")
    server.length = True
    get()
    assert server.requests[-1] == ("f.bin", None, 400_000)


def test_two_at_once_download_it_once(server, path, caplog):
    caplog.set_level(logging.INFO, downloads.__name__)
    errors = []

    def second():
        try:
            download(f"{server.url}/f.bin", path, f"md5:{md5(CONTENT)}")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=second)
    waits = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: waits.set() if "waiting" in record.getMessage() else None
    downloads._log.addHandler(handler)

    def progress(done, total):
        if not thread.is_alive() and not waits.is_set():
            thread.start()
            assert waits.wait(30)  # it has found the lock taken

    try:
        download(f"{server.url}/f.bin", path, f"md5:{md5(CONTENT)}", progress)
        thread.join()
    finally:
        downloads._log.removeHandler(handler)
    assert errors == []
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_whole_file_needs_no_lock(get, path, monkeypatch):
    get()

    def locked(*_, **__):
        raise filelock.Timeout("locked")

    monkeypatch.setattr(downloads.FileLock, "acquire", locked)
    get()


def test_a_full_disk_is_the_machines_fault_and_a_file_for_a_folder_the_users(
    server, path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    path.parent.write_bytes(b"")
    with pytest.raises(UserError, match="choose another path"):
        download(f"{server.url}/f.bin", path, f"md5:{md5(CONTENT)}")
    path.parent.unlink()
    monkeypatch.setattr(downloads, "write_atomic", full)
    with pytest.raises(MachineError, match="no space left"):
        download(f"{server.url}/f.bin", path, f"md5:{md5(CONTENT)}")
