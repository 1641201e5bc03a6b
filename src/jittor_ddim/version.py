"""The versions of this project and of what it depends on."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

try:
    __version__ = version("jittor-ddim")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+checkout"

#: The files of this package that decide what it computes.
_CODE = {".py", ".h", ".cc"}


def code_digest(package: Path = Path(__file__).parent) -> str:
    """Return what tells a package's code from another under the same version number."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _CODE:
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, besides the engine's own."""
    return {
        "jittor_ddim": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
