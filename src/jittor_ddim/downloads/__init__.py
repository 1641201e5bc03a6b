"""Files from the network.

The network's client is imported only when it is needed: that takes a quarter of a second.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from jittor_ddim.atomic import disk_errors

#: Called with (bytes received, bytes in total); the first call says how many an earlier run left.
Progress = Callable[[int, int], None]


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
    :param progress: called if the server tells the file's length
    :raises DownloadError: if network or server fail, or the hash differs: the file is then deleted
    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    with disk_errors(path):
        if path.is_file() and hash_of(path, digest.partition(":")[0]) == digest.partition(":")[2]:
            return  # without the lock: the folder may be read-only
    from jittor_ddim.downloads.resumable import fetch

    fetch(url, path, digest, progress or (lambda received, total: None))
