"""Put oneDNN from PyPI where Jittor looks for it.

Jittor's CPU convolutions and matrix products call oneDNN, which it downloads from its own site
into ``JITTOR_HOME/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp``. The packages ``onednn-cpu-gomp``
and ``onednn-devel-cpu-gomp`` hold the same library (2.6, same C++ API): no site is needed.
"""

import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from jittor_ddim.errors import EngineError

#: The name that Jittor 1.3.11 asks for, whatever version lies inside.
FOLDER_NAME = "dnnl_lnx_2.2.0_cpu_gomp"
_LIBRARY = "libdnnl.so.2.6"
#: Jittor links ``-lmkldnn``; the loader wants the library's own name ``libdnnl.so.2``.
_LIBRARY_ALIASES = ("libmkldnn.so", "libdnnl.so", "libdnnl.so.2")
#: Jittor takes any folder here whose name begins with ``dnnl``: not for an unfinished one.
_TEMPORARY_PREFIX = ".jittor-ddim-"


def is_complete(folder: Path) -> bool:
    """Tell whether Jittor could use this oneDNN, wherever it came from."""
    return (folder / "lib" / "libmkldnn.so").is_file() and (
        folder / "include" / "dnnl.hpp"
    ).is_file()


def onednn_folder() -> Path:
    """Return where Jittor looks for oneDNN; it must be importable."""
    import jittor_utils

    return Path(jittor_utils.home()) / ".cache" / "jittor" / "mkl" / FOLDER_NAME


def ensure_onednn(mkl_folder: Path) -> Path:
    """Make sure that Jittor finds a oneDNN, and return its folder.

    A complete one, such as Jittor's own download, is left as it is. Otherwise the files are copied
    (not linked: a virtual environment may be deleted) beside the place and renamed into it, under
    a lock, so that two processes that start at once do not meet.

    :param mkl_folder: ``JITTOR_HOME/.cache/jittor/mkl``
    :raises EngineError: if the packages are not installed
    """
    target = mkl_folder / FOLDER_NAME
    if is_complete(target) or platform.machine() != "x86_64":
        return target
    mkl_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(mkl_folder / f"{_TEMPORARY_PREFIX}lock"):
        if is_complete(target):
            return target
        for leftover in mkl_folder.glob(f"{_TEMPORARY_PREFIX}tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        library, headers = _installed_files()
        staging = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY_PREFIX}tmp", dir=mkl_folder))
        _stage(library, headers, staging / FOLDER_NAME)
        if target.exists():  # a download that was cut off
            os.rename(target, staging / "incomplete")
        os.rename(staging / FOLDER_NAME, target)
        shutil.rmtree(staging)
    return target


def _installed_files() -> tuple[Path, list[tuple[Path, Path]]]:
    """Return the installed library, and each header with its path below ``include/``."""
    try:
        library = next(
            Path(str(file.locate()))
            for file in metadata.files("onednn-cpu-gomp") or ()
            if file.name == _LIBRARY
        ).resolve(strict=True)
        headers = [
            (Path(str(file.locate())).resolve(strict=True), Path(*file.parts[start + 1 :]))
            for file in metadata.files("onednn-devel-cpu-gomp") or ()
            if file.suffix in (".h", ".hpp")
            for start in [file.parts.index("include")]
        ]
    except (metadata.PackageNotFoundError, StopIteration, OSError):
        raise EngineError(
            "Jittor needs oneDNN for CPU convolutions and its PyPI packages are not installed: "
            "pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1"
        ) from None
    return library, headers


def _stage(library: Path, headers: list[tuple[Path, Path]], folder: Path) -> None:
    (folder / "lib").mkdir(parents=True)
    shutil.copyfile(library, folder / "lib" / _LIBRARY)
    for alias in _LIBRARY_ALIASES:
        (folder / "lib" / alias).symlink_to(_LIBRARY)
    for source, relative in headers:
        destination = folder / "include" / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
