"""Where the program keeps what belongs to no experiment: downloads and compiled code.

Some users have no writable home: in a container that runs as another user, HOME may be missing,
``/`` or somebody else's. They get a private folder in the folder for temporary files.
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


def user_cache(default: Path | None = None) -> Path:
    """Return ``$JITTOR_DDIM_CACHE``, else a folder in the user's cache, else a temporary one.

    :param default: what to return if the variable is not set
    :returns: a folder that need not exist yet
    :raises MachineError: if none of them is writable
    """
    if given := os.environ.get("JITTOR_DDIM_CACHE"):
        return Path(given)
    if default is not None:
        return default
    try:
        usual = Path(platformdirs.user_cache_dir("jittor_ddim"))
    except RuntimeError:  # the user's home is unknown
        return _warned_temporary_folder()
    # Some releases leave the ~ in it instead.
    return usual if usual.is_absolute() and can_write(usual) else _warned_temporary_folder()


def user_home() -> Path | None:
    """Return the user's home, or None if it is unknown."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand_home(path: Path | str) -> Path:
    """Return a path with ``~`` or ``~name`` expanded to the home folder.

    :raises UserError: if that home is unknown
    """
    if "\0" in str(path):
        raise UserError(f"{str(path)!r}: a path cannot contain a NUL character; remove it")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        raise UserError(f"{path}: the home of {name} is unknown; write the path in full") from None


def can_write(folder: Path) -> bool:
    """Tell whether a folder is writable or, if it is missing, can be created."""
    folder = folder.absolute()
    existing = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def settle_matplotlib() -> None:
    """Give matplotlib, before it is imported, a folder if it would find no writable one."""
    home = user_home()
    for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
        given = os.environ.get(variable)
        folder = Path(given) if given else home and home / usual
        if folder is None or not can_write(folder / "matplotlib"):
            # Without a temporary folder matplotlib itself says what to do.
            with suppress(MachineError):
                os.environ.setdefault("MPLCONFIGDIR", str(_temporary_folder() / "matplotlib"))


@cache
def _warned_temporary_folder() -> Path:
    folder = _temporary_folder()
    _log.warning(
        "The home folder is not writable: downloads and compiled code are kept in %s; "
        "set JITTOR_DDIM_CACHE to a permanent folder",
        folder,
    )
    return folder


def _temporary_folder() -> Path:
    """Return a folder among the temporary files that nobody else can write."""
    remedy = "set JITTOR_DDIM_CACHE to a writable folder"
    try:
        folder = Path(tempfile.gettempdir()) / f"jittor_ddim-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise MachineError(
            f"neither the home folder nor a temporary folder is writable ({error}); {remedy}"
        ) from None
    others_can_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or others_can_write:
        raise MachineError(f"{folder} is not a private folder of yours; delete it, or {remedy}")
    return folder
