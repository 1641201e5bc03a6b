"""Where the program keeps what belongs to no experiment: downloads, and what it compiled.

Not everybody has a home that can be written: in a container that runs as another user HOME is
missing, ``/`` or somebody else's. Then the folder is one of the user's own among the temporary.
"""

import logging
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs

from jittor_ddim.errors import MachineError, UserError

_log = logging.getLogger(__name__)


def user_cache() -> Path:
    """Return ``$JITTOR_DDIM_CACHE``, else a folder in the user's cache, else a temporary one.

    It is perhaps not there yet.

    :raises MachineError: if no place can be written
    """
    if given := os.environ.get("JITTOR_DDIM_CACHE"):
        return Path(given)
    try:
        usual = Path(platformdirs.user_cache_dir("jittor_ddim"))
    except RuntimeError:  # nobody knows this user's home
        return _warned_temporary_folder()
    # Some releases leave the ~ in it instead.
    return usual if usual.is_absolute() and can_write(usual) else _warned_temporary_folder()


def user_home() -> Path | None:
    """Return the user's home, or None where nobody knows it."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand_home(path: Path | str) -> Path:
    """Return a path with the home that ``~`` or ``~name`` stands for.

    :raises UserError: if nobody knows that home
    """
    if "\0" in str(path):
        raise UserError(f"{str(path)!r}: a path has no NUL character; write it anew")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        raise UserError(f"{path}: no home is known for {name}; write the path in full") from None


def can_write(folder: Path) -> bool:
    """Tell whether a folder can be written or, where it is missing, made."""
    folder = folder.absolute()
    existing = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def settle_matplotlib() -> None:
    """Give matplotlib, before it is imported, a folder where it would find none or complain."""
    home = user_home()
    for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
        given = os.environ.get(variable)
        folder = Path(given) if given else home and home / usual
        if folder is None or not can_write(folder / "matplotlib"):
            # Without a temporary folder matplotlib says itself what helps.
            with suppress(MachineError):
                os.environ.setdefault("MPLCONFIGDIR", str(_temporary_folder() / "matplotlib"))


@cache
def _warned_temporary_folder() -> Path:
    folder = _temporary_folder()
    _log.warning(
        "There is no home that can be written: downloads and compiled code are kept in %s; "
        "set JITTOR_DDIM_CACHE to a folder that lasts",
        folder,
    )
    return folder


def _temporary_folder() -> Path:
    """Return a folder that lasts as long as temporary files do, and that nobody else can write."""
    remedy = "set JITTOR_DDIM_CACHE to a folder of yours that can be written"
    try:
        folder = Path(tempfile.gettempdir()) / f"jittor_ddim-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise MachineError(
            f"neither a home nor a temporary folder can be written ({error}): {remedy}"
        ) from None
    others_can_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or others_can_write:
        raise MachineError(f"{folder} is not yours alone: delete it, or {remedy}")
    return folder
