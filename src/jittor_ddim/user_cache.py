"""Where the program keeps what belongs to no experiment: downloads, and what it compiled."""

import os
from pathlib import Path

import platformdirs


def user_cache() -> Path:
    """Return ``$JITTOR_DDIM_CACHE``, else a folder in the user's cache; perhaps not there yet."""
    return Path(os.environ.get("JITTOR_DDIM_CACHE") or platformdirs.user_cache_dir("jittor_ddim"))
