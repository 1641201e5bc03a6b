"""Downloads: checked by their hash, kept, and gone on with where they were cut off.

NAME            the whole file; its hash was right when it got this name
NAME.part       what an unfinished download has so far
NAME.part.json  which version of the file that is the beginning of
.NAME.lock      held by the process that downloads
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock, Timeout
from urllib3.exceptions import HTTPError

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.downloads import Progress
from jittor_ddim.errors import DownloadError

_CHUNK = 64 * 1024  # what a cut connection costs at most
_SECONDS = 30  # without an answer
_log = logging.getLogger(__name__)


def fetch(url: str, path: Path, digest: str, progress: Progress | None) -> None:
    """Download a file that is not there; parameters and errors are those of ``download``."""
    algorithm, _, expected = digest.partition(":")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_process(path):
            # It says where it downloads from whatever --verbose is; our line does it by that.
            pooch.get_logger().setLevel(logging.WARNING)
            downloader: Any = _Resumable(_Part(path), progress)  # pooch types it as a processor
            try:
                pooch.retrieve(url, digest, path.name, path.parent, downloader=downloader)
            except ValueError as error:  # pooch's word for another hash
                found = re.search("but got ([0-9a-f]+)", str(error))
                if found is None:
                    raise
                raise DownloadError(
                    f"{url}: not the right file, so deleted: {algorithm} expected {expected}, "
                    f"found {found[1]}"
                ) from None


@contextmanager
def _only_process(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("%s: another process is downloading it; waiting", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Version:
    """What a server says of a file, by which another beginning is told from ours."""

    total: int | None  # bytes
    validator: str  # a strong ETag, else the date of the last change, else nothing

    @classmethod
    def of(cls, response: requests.Response, total: str | None) -> "_Version":
        """Return the version that an answer belongs to; ``total`` as its headers have it."""
        etag = response.headers.get("ETag", "W/")
        weak = etag.startswith("W/")  # two files of one such tag need not agree in every byte
        validator = response.headers.get("Last-Modified", "") if weak else etag
        return cls(int(total) if total and total.isdigit() else None, validator)


class _Part:
    """The beginning of a file, and of which version of it."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._record = path.with_name(f"{path.name}.part.json")

    def size(self) -> int:
        """How many bytes are there that can be gone on with."""
        version = self.version()
        size = self.path.stat().st_size if self.path.exists() else 0
        return size if version and version.total and size <= version.total else 0

    def version(self) -> _Version | None:
        """What they are the beginning of; None where that is not known."""
        try:
            return _Version(**json.loads(self._record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def restart(self, version: _Version) -> None:
        """Throw away what is there."""
        self.path.write_bytes(b"")  # before the record, which would call the old bytes new
        write_atomic(self._record, json.dumps(asdict(version)).encode())

    def finish(self, path: str) -> None:
        """Hand over the whole file."""
        os.replace(self.path, path)
        self._record.unlink()


class _Resumable:
    """A downloader for pooch that goes on with a part.

    It connects again as long as every connection brings the file further than any before: a
    server that cuts them all at one place is given up.
    """

    def __init__(self, part: _Part, progress: Progress | None) -> None:
        self._part = part
        self._progress = progress or (lambda done, total: None)

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download ``url`` to ``output_file``, as pooch asks for it."""
        complete = False
        while not complete:
            before = self._part.size()
            try:
                complete = self._connect(url)
                problem = "the connection was cut"
            except (requests.RequestException, HTTPError) as error:
                problem = _describe(error)
            size = self._part.size()
            if not complete and size <= before:
                kept = f"; {size} bytes are kept, the same command goes on there" if size else ""
                raise DownloadError(f"{url}: {problem}{kept}")
        self._part.finish(output_file)

    def _connect(self, url: str) -> bool:
        """Receive what one connection brings, and tell whether the file is complete."""
        offset, version = self._part.size(), self._part.version()
        # A compressed answer would have another length, and no place in it to go on from.
        headers = {"Accept-Encoding": "identity"}
        if offset and version:
            if offset == version.total:
                return True
            headers["Range"] = f"bytes={offset}-"
            if version.validator:
                headers["If-Range"] = version.validator
        _log.info("Downloading %s%s", url, f" from byte {offset} on" if offset else "")
        with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as response:
            if offset and response.status_code in (206, 416):
                if not _goes_on(response, offset, version):
                    self._part.path.unlink()
                    return self._connect(url)
            else:
                response.raise_for_status()
                offset = 0
                version = _Version.of(response, response.headers.get("Content-Length"))
                self._part.restart(version)
            total = version.total if version else None
            self._receive(response, offset, total)
        return total is None or self._part.size() == total

    def _receive(self, response: requests.Response, done: int, total: int | None) -> None:
        if total:
            self._progress(done, total)
        with self._part.path.open("ab") as file:
            # raw: what requests decodes by itself, such as a .gz that a server calls encoded,
            # would no longer be the file
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                if total:
                    self._progress(done, total)


def _goes_on(response: requests.Response, offset: int, version: _Version | None) -> bool:
    """Whether an answer is the rest of the version that we have the beginning of."""
    place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not place or int(place[1]) != offset or not version:
        return False
    rest = _Version.of(response, place[2])
    # An answer to If-Range may leave out the date that it was asked with.
    return rest.total == version.total and rest.validator in ("", version.validator)


def _describe(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer for {_SECONDS} seconds"
    if isinstance(error, requests.ConnectionError):
        return f"no connection ({type(error).__name__})"
    if isinstance(error, HTTPError):
        return "the connection was cut"
    return " ".join(str(error).split())
