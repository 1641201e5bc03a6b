"""Where the program keeps what it can get again: downloads, and libraries that it compiled."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return ``$JITTOR_DDIM_CACHE``, else a folder in the user's cache; it need not be there."""
    import platformdirs

    return Path(os.environ.get("JITTOR_DDIM_CACHE") or platformdirs.user_cache_dir("jittor_ddim"))
