"""Results that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jittor_ddim.atomic import disk_errors


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well it becomes ``path``, else it is removed.

    The temporary file is hidden, ends in ``.tmp`` and lies in the same folder (made if missing),
    so a killed process leaves nothing that looks like a result. Unlike
    :func:`jittor_ddim.atomic.write_atomic` it does not wait for the disk, which would be slow for
    thousands of images; these can be made again.

    :raises UserError: if the path is wrong
    :raises MachineError: if the disk is full, read-only or broken
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
