"""A lock that one process holds at a time, and that ends with it, however it ends."""

import fcntl
from typing import TextIO


def try_lock(file: TextIO, *, shared: bool = False) -> bool:
    """Lock an open file, unless another process holds it; closing the file unlocks it.

    This is a POSIX record lock. The package filelock uses flock, which forked children inherit:
    Jittor's compile workers would hold it after their parent was killed.

    :param shared: several may hold it so, but none beside one that does not
    """
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True
