"""Find what Jittor compiles and computes with on a GPU: nvcc, headers, CUDA's libraries, cuDNN.

They lie in an installed toolkit, in the wheels of ``jittor-ddim[cuda]``, or partly in one and
partly in the other, as where PyTorch brought its libraries and the machine has an nvcc.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from jittor_ddim.engines.jittor.cuda.gpus import Gpus, Version, find_gpus
from jittor_ddim.hardware import gpus_are_hidden

#: The oldest CUDA that is known to work, and the newest major version.
_OLDEST, _NEWEST = (11, 8), 13
#: By CUDA's major version: the driver with which it begins to run.
_DRIVERS = {11: "450", 12: "525", 13: "580"}
#: By CUDA's major version, the versions in the names of its libraries.
_LIBRARIES = {
    11: "cudart.11.0 cublasLt.11 cublas.11 curand.10 cufft.10 cusparse.11",
    12: "nvJitLink.12 cudart.12 cublasLt.12 cublas.12 curand.10 cufft.11 cusparse.12",
    13: "nvJitLink.13 cudart.13 cublasLt.13 cublas.13 curand.10 cufft.12 cusparse.12",
}
_NVRTC = {11: "nvrtc.11.2", 12: "nvrtc.12", 13: "nvrtc.13"}
_HEADERS = ["cuda_runtime.h", "cublas_v2.h", "curand.h", "cufft.h", "cusparse.h"]
_USR = Path("/usr")
_SYSTEM = _USR / "lib" / "x86_64-linux-gnu", _USR / "lib64"
_INSTALLED = "/usr/local/cuda", "/opt/cuda"
WHEELS = "pip install 'jittor-ddim[cuda]'"


class NoToolkitError(Exception):
    """Why no toolkit can be used: what to read after "missing:"."""


class UnsuitedError(NoToolkitError):
    """A compiler that does not suit the driver or the GPUs, whatever else is there."""


@dataclass(frozen=True)
class Toolkit:
    """A compiler with the headers and libraries that go with it."""

    nvcc: Path
    version: Version  #: of CUDA
    includes: tuple[Path, ...]  #: folders of CUDA's headers, the first before the others
    libraries: tuple[Path, ...]  #: CUDA's, in an order in which they can be loaded
    cudnn: tuple[Path, ...]  #: cuDNN's libraries
    cudnn_header: Path
    cudnn_version: Version
    architectures: tuple[int, ...]  #: to compile for

    def __str__(self) -> str:
        """Say which it is and where it lies."""
        cuda, cudnn = (".".join(map(str, v)) for v in (self.version, self.cudnn_version))
        architectures = ", ".join(f"sm_{number}" for number in self.architectures)
        return f"CUDA {cuda} at {self.nvcc}, cuDNN {cudnn} at {self.cudnn[0]}, for {architectures}"


@cache
def usable_toolkit() -> Toolkit:
    """Return the toolkit for this machine's GPUs: the first that is whole and suits the driver.

    If the variable ``nvcc_path`` names a compiler, it alone is tried; else the wheels', the one on
    the PATH, and those in ``CUDA_HOME``, /usr/local/cuda and /opt/cuda.

    :raises NoToolkitError: without a GPU, or naming what the best candidate lacks
    """
    gpus = find_gpus()
    if gpus is None:
        hidden = "a GPU that CUDA_VISIBLE_DEVICES does not hide"
        raise NoToolkitError(hidden if gpus_are_hidden() else "an NVIDIA GPU with its driver")
    reasons = []
    for nvcc in _compilers():
        try:
            return complete(nvcc, gpus)
        except NoToolkitError as reason:
            reasons.append(reason)
    if not reasons:
        raise NoToolkitError(f"nvcc, CUDA's compiler: {_remedy(gpus.cuda[0])}")
    # What a compiler lacks that would serve is worth more than why another one does not.
    raise min(reasons, key=lambda reason: isinstance(reason, UnsuitedError))


def _remedy(major: int) -> str:
    """Return how to get what is missing for a CUDA of this major version."""
    return WHEELS if major >= _NEWEST else f"install the CUDA {major} toolkit, and its cuDNN"


def _compilers() -> Iterator[Path]:
    """Every nvcc in the order in which they are tried; only the one that a user named, if so."""
    if given := os.environ.get("nvcc_path"):
        yield Path(given)
        return
    wheels = [folder / "bin" / "nvcc" for folder in _wheels("cu*")]
    homes = [os.environ.get("CUDA_HOME"), *_INSTALLED]
    installed = [Path(home, "bin", "nvcc") for home in homes if home]
    on_path = shutil.which("nvcc")
    for nvcc in [*wheels, *([Path(on_path)] if on_path else []), *installed]:
        if os.access(nvcc, os.X_OK):
            yield nvcc


def complete(nvcc: Path, gpus: Gpus) -> Toolkit:
    """Return the toolkit around a compiler.

    :raises NoToolkitError: naming what it lacks, or why it does not suit these GPUs
    """
    version = _version(nvcc)
    major = version[0]
    name = f"CUDA {major}.{version[1]} ({nvcc})"
    if version < _OLDEST or major > _NEWEST:
        raise UnsuitedError(f"a CUDA between 11.8 and {_NEWEST}; {name} is not: {WHEELS}")
    if gpus.cuda < (major, 0):
        raise UnsuitedError(
            f"an NVIDIA driver of version {_DRIVERS[major]} or newer for {name}; this one, "
            f"{gpus.driver}, runs CUDA {gpus.cuda[0]} at most: update it, or install CUDA "
            f"{gpus.cuda[0]} and cuDNN"
        )
    architectures = _architectures(nvcc, name, gpus)
    root = nvcc.resolve().parents[1]
    roots = [root, root / "targets" / "x86_64-linux", *_wheels("*"), _USR]
    includes = _headers(version, name, [folder / "include" for folder in roots])
    folders = [folder / lib for folder in roots for lib in ("lib64", "lib")]
    libraries = [_find(version, name, folders, lib) for lib in _LIBRARIES[major].split()]
    with suppress(NoToolkitError):  # cuDNN compiles some kernels with it, for new GPUs above all
        libraries.append(_find(version, name, folders, _NVRTC[major]))
    header, cudnn_version, cudnn = _cudnn(major, name, root)
    return Toolkit(
        nvcc, version, includes, tuple(libraries), cudnn, header, cudnn_version, architectures
    )


def _version(nvcc: Path) -> Version:
    found = re.search(r"release (\d+)\.(\d+)", _ask(nvcc, "--version"))
    if found is None:
        raise NoToolkitError(f"a working compiler: {nvcc} does not say its version")
    return int(found[1]), int(found[2])


def _architectures(nvcc: Path, name: str, gpus: Gpus) -> tuple[int, ...]:
    """Return the GPUs' architectures, or the newest that the compiler knows for newer ones.

    An older GPU beside a newer one is left out. A GPU translates code of an older architecture
    when it is loaded.
    """
    known = sorted(int(n) for n in re.findall(r"compute_(\d+)", _ask(nvcc, "--list-gpu-arch")))
    if not known:
        raise NoToolkitError(f"a working compiler: {nvcc} does not list GPUs")
    new_enough = [number for number in gpus.architectures if number >= known[0]]
    if not new_enough:
        raise UnsuitedError(
            f"a CUDA for a GPU of compute capability {gpus.architectures[-1] / 10}; {name} needs "
            f"{known[0] / 10}: install CUDA 12 or 11.8, and name its nvcc in nvcc_path"
        )
    suited = {max(k for k in known if k <= number) for number in new_enough}
    return tuple(sorted(suited))


def _ask(nvcc: Path, option: str) -> str:
    try:
        return subprocess.run([nvcc, option], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        raise NoToolkitError(
            f"a working compiler: {nvcc} does not; name another in nvcc_path"
        ) from None


def _headers(version: Version, name: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return those of the folders in which headers are found first."""
    found: list[Path] = []
    for header in _HEADERS:
        folder = next((f for f in folders if (f / header).is_file()), None)
        if folder is None:
            raise NoToolkitError(f"the header {header} for {name}: {_remedy(version[0])}")
        found.append(folder)
    _check_headers(version, name, found[0])
    return tuple(dict.fromkeys(found))


def _check_headers(version: Version, name: str, folder: Path) -> None:
    """Refuse headers of another CUDA than the compiler's, as wheels of several versions bring."""
    text = (folder / "cuda_runtime_api.h").read_text(errors="replace")
    found = re.search(r"define CUDART_VERSION\s+(\d+)", text)
    number = int(found[1]) if found else 0
    theirs = number // 1000, number % 1000 // 10
    if theirs != version:
        there = f"those at {folder} are of CUDA {theirs[0]}.{theirs[1]}"
        raise NoToolkitError(f"headers for {name}; {there}: {_remedy(version[0])}")


def _find(version: Version, name: str, folders: Sequence[Path], library: str) -> Path:
    """Return a library of this name, such as cublas.13."""
    stem, _, number = library.partition(".")
    file = f"lib{stem}.so.{number}"
    for folder in (*folders, *_system()):
        if (folder / file).exists():
            return folder / file
    raise NoToolkitError(f"{file} for {name}: {_remedy(version[0])}")


def _cudnn(major: int, name: str, root: Path) -> tuple[Path, Version, tuple[Path, ...]]:
    """Return cuDNN's header, version and libraries.

    From ``CUDNN_PATH``, the toolkit's folder, wheels, or the system, in this order.
    """
    given = os.environ.get("CUDNN_PATH")
    roots = [Path(given)] if given else [root, *_wheels("cudnn"), _USR]
    for folder in roots:
        for header in sorted(folder.glob("include/**/cudnn.h")):
            version = _cudnn_version(header)
            libs = [folder / "lib64", folder / "lib", *([] if given else _system())]
            found = [sorted(lib.glob(f"libcudnn*.so.{version[0]}")) for lib in libs]
            if libraries := next(filter(None, found), None):
                _check_cudnn(major, name, folder, version)
                return header, version, tuple(libraries)
    where = f"in CUDNN_PATH={given}" if given else "with its header cudnn.h"
    raise NoToolkitError(f"cuDNN 8 or 9 {where}: {_remedy(major)}")


def _check_cudnn(major: int, name: str, folder: Path, version: Version) -> None:
    if version[0] not in (8, 9):
        raise NoToolkitError(
            f"cuDNN 8 or 9; the one at {folder} is {version[0]}: {_remedy(major)}"
        )
    if folder in _wheels("cudnn"):
        # All of them unpack into one folder, where the last one installed counts.
        others = [n for n in (11, 12, 13) if n != major and _is_installed(f"nvidia-cudnn-cu{n}")]
        if others:
            raise NoToolkitError(
                f"cuDNN for {name}; installed is the wheel for CUDA {others[0]}: "
                f"pip uninstall nvidia-cudnn-cu{others[0]}, then pip install --force-reinstall "
                f"nvidia-cudnn-cu{major}"
            )


def _cudnn_version(header: Path) -> Version:
    folder = header.resolve().parent  # Debian's header is a link to cudnn_v9.h
    texts = [file.read_text() for file in sorted(folder.glob("cudnn_version*.h"))]
    found = re.search(r"define CUDNN_MAJOR (\d+)\s+#define CUDNN_MINOR (\d+)", "".join(texts))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _wheels(pattern: str) -> list[Path]:
    """Folders below ``nvidia/``, which NVIDIA's wheels share, by a pattern."""
    spec = find_spec("nvidia")
    places = spec.submodule_search_locations if spec else None
    return [folder for place in places or () for folder in sorted(Path(place).glob(pattern))]


def _system() -> list[Path]:
    """Where the system and LD_LIBRARY_PATH look for libraries."""
    given = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return [*(Path(folder) for folder in given if folder), *_SYSTEM]
