"""Downloads that resume where a connection was cut; pooch would start again from the first byte.

NAME            the whole file; its hash was right when it got this name
NAME.part       what an unfinished download has received so far
NAME.part.json  which version of the file that is from
.NAME.lock      held by the process that downloads
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.errors import DownloadError, why

#: Called with (bytes received, bytes in total); the first call says how many an earlier run left.
Progress = Callable[[int, int], None]

_CHUNK = 64 * 1024  # bytes that a cut connection loses at most
_SECONDS = 30  # without an answer
_RECORD = ".part.json"
_log = logging.getLogger(__name__)


def hash_of(path: Path, algorithm: str) -> str:
    """Return a file's hash, ``md5`` or ``sha256``, in hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(url: str, path: Path, digest: str, progress: Progress | None = None) -> None:
    """Download a file unless it is there, resuming an interrupted download.

    If several processes want the same file, one downloads it and the others wait.

    :param digest: its hash, ``md5:…`` or ``sha256:…``; a file at ``path`` that differs is replaced
    :param progress: called if the server states the file's length
    :raises DownloadError: if the network or the server fails, or if the hash differs; the file is
        then deleted
    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    algorithm, _, expected = digest.partition(":")

    def is_there() -> bool:
        return path.is_file() and hash_of(path, algorithm) == expected

    part = path.with_name(f"{path.name}.part")
    with disk_errors(path):
        if is_there():  # asked without the lock: the folder may be read-only
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if is_there():  # another process was first
                return
            _complete(url, part, progress or (lambda received, total: None))
            found = hash_of(part, algorithm)
            part.with_suffix(_RECORD).unlink()
            if found == expected:
                os.replace(part, path)
                return
            part.unlink()
            raise DownloadError(
                f"{url}: not the right file, so it was deleted: expected {algorithm} {expected}, "
                f"found {found}"
            )


def _lock(path: Path) -> AcquireReturnProxy:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.info("%s: waiting, another process is downloading it", path)
        return lock.acquire()


def _complete(url: str, part: Path, progress: Progress) -> None:
    """Connect until the file is complete, or until a connection gets no further than the last."""
    # Not at the top: this client takes a quarter of a second to import.
    import requests
    from urllib3.exceptions import HTTPError

    complete = False
    while not complete:
        before = _kept(part)[0]
        problem = "the connection was cut"
        try:
            complete = _connect(url, part, progress)
        except requests.Timeout:
            problem = f"no answer for {_SECONDS} seconds"
        except requests.ConnectionError as error:
            problem = f"no connection ({type(error).__name__})"
        except requests.RequestException as error:
            problem = why(error)
        except HTTPError:  # of urllib3, in the middle of the file
            pass
        size = _kept(part)[0]
        if not complete and size <= before:
            kept = f"; {size} bytes are kept, and the same command resumes there" if size else ""
            raise DownloadError(f"{url}: {problem}{kept}")


def _connect(url: str, part: Path, progress: Progress) -> bool:
    """Receive what one connection brings, and return whether the file is complete."""
    import requests

    done, total, version = _kept(part)
    if done and done == total:
        return True
    _log.info("Downloading %s%s", url, f", resuming at byte {done}" if done else "")
    # A compressed answer would have another length, and no position to resume at.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as response:
        if done and response.status_code in (206, 416):
            rest = response.headers.get("Content-Range", "")
            same = rest.startswith(f"bytes {done}-") and rest.endswith(f"/{total}")
            if not same or _version(response) not in ("", version):
                part.unlink()  # the server has another file by now
                return _connect(url, part, progress)
        elif not response.ok:
            reason = f"{response.status_code} {response.reason}"
            raise requests.RequestException(f"the server answered {reason}")
        else:
            length = response.headers.get("Content-Length", "")
            done, total = 0, int(length) if length.isdigit() else 0
            part.write_bytes(b"")  # before the record, which must not describe the old bytes
            record = {"total": total, "validator": _version(response)}
            write_atomic(part.with_suffix(_RECORD), json.dumps(record).encode())
        # raw: requests itself would decode, for instance, a .gz that a server calls encoded
        chunks = response.raw.stream(_CHUNK, decode_content=False)
        with part.open("ab") as file:
            for chunk in chain([b""], chunks):
                file.write(chunk)
                done += len(chunk)
                if total:
                    progress(done, total)
    return done == total or not total


def _kept(part: Path) -> tuple[int, int, str]:
    """The bytes received, the bytes in total, and the version; zeros if it cannot be resumed."""
    try:
        record = json.loads(part.with_suffix(_RECORD).read_bytes())
        size, total = part.stat().st_size, int(record["total"])
        return (size, total, record["validator"]) if size <= total else (0, 0, "")
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0, ""


def _version(response: Any) -> str:
    """A strong ETag, else the date of the last change: files of one weak ETag need not agree."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
