"""Files from the network.

What talks to servers is loaded when it is needed: its import takes a quarter of a second.
"""

from collections.abc import Callable
from pathlib import Path

from jittor_ddim.atomic import disk_errors

#: Called with (bytes there, bytes in all); what the first call says was there before.
Progress = Callable[[int, int], None]


def hash_of(path: Path, algorithm: str) -> str:
    """Return a file's hash in hexadecimal digits.

    :param algorithm: ``md5`` or ``sha256``
    """
    import pooch

    return pooch.file_hash(str(path), alg=algorithm)


def download(url: str, path: Path, digest: str, progress: Progress | None = None) -> None:
    """Download a file, unless it is there; a second call goes on where a first was interrupted.

    Processes that want the same file at once wait for the first to have it.

    :param path: the file to make; its folder is made if missing
    :param digest: ``md5:…`` or ``sha256:…`` of the file; one of the name that differs is replaced
    :param progress: for servers that say how long the file is
    :raises DownloadError: without a network, with another answer than the file, or if its hash
        is another; a wrong file is not kept
    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    algorithm, _, expected = digest.partition(":")
    with disk_errors(path):
        if path.is_file() and hash_of(path, algorithm) == expected:
            return  # without the lock: such a folder may be read-only
    from jittor_ddim.downloads.resumable import fetch

    fetch(url, path, digest, progress)
