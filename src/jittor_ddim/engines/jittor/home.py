"""The folder in which Jittor keeps what it compiles, and no other.

By itself Jittor makes ``~/.cache/jittor`` whatever ``JITTOR_HOME`` says, and writes there a
``JITTOR_HOME`` once given, so that it holds for every later process too.
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jittor_ddim.engines.environment import setting
from jittor_ddim.errors import EngineError
from jittor_ddim.user_cache import can_write, user_cache, user_home

_CACHE = Path(".cache", "jittor")


def jittor_home() -> Path:
    """Return the folder whose ``.cache/jittor`` Jittor uses.

    ``$JITTOR_HOME``, else the one that Jittor was once told, else the user's home, or, where
    that is not writable, a folder in this package's cache.

    :raises EngineError: if the folder cannot be written
    """
    if given := os.environ.get("JITTOR_HOME"):
        folder = Path(given).absolute()
        if not can_write(folder / _CACHE):
            raise EngineError(
                f"JITTOR_HOME={given}: {folder / _CACHE} cannot be written, and Jittor keeps "
                "there what it compiles; set it to a folder that can"
            )
        return folder
    if home := user_home():
        for folder in (_remembered(home), home):
            if folder and can_write(folder / _CACHE):
                return folder
    folder = user_cache() / "jittor_home"
    if not can_write(folder):
        raise EngineError(
            f"Jittor keeps what it compiles in a folder, and {folder} cannot be written; "
            "set JITTOR_HOME to one that can"
        )
    return folder


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Let Jittor, while it is imported, see no other home, not even as the user's."""
    with setting(HOME=str(folder), JITTOR_HOME=str(folder)):
        yield


def python_at_home(folder: Path, python: str) -> str:
    """Return how a shell starts Python with this home, for what Jittor does at each kernel.

    Jittor reads the command up to its first blank as one word and takes what follows for files,
    so there are tabs between the words.
    """
    if folder == user_home():
        return python
    home = shlex.quote(str(folder))
    return f"HOME={home}\tJITTOR_HOME={home}\t{python}"


def _remembered(home: Path) -> Path | None:
    """What an earlier JITTOR_HOME left behind, or None.

    :raises EngineError: if it cannot be read, since Jittor could not read it either
    """
    path = home / _CACHE / "config.json"
    try:
        return Path(json.loads(path.read_text())["JITTOR_HOME"])
    except (OSError, KeyError):
        return None
    except (ValueError, TypeError):
        raise EngineError(f"{path} is damaged, and Jittor reads it: delete it") from None
