"""The versions of this project and of what it depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

try:
    __version__ = version("jittor-ddim")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+checkout"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, besides the engine's own."""
    return {
        "jittor_ddim": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
