"""A user whom no passwd entry and no HOME gives a home, as in a container with ``--user``."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

#: For a process of its own: the environment without these, and this before anything else.
PRELUDE = """
import os, pwd
def no_entry(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = no_entry
"""
VARIABLES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "JITTOR_DDIM_CACHE", "MPLCONFIGDIR")


def make_homeless(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> Path:
    """Take the user's home away; return the folder that is then the program's."""

    def no_entry(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in (*VARIABLES, "JITTOR_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary / f"jittor_ddim-{os.getuid()}"
