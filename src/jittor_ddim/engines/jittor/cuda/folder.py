"""A toolkit as Jittor expects it: one folder with ``bin/nvcc``, ``include`` and ``lib64``.

It holds links, a few lines of shell, two headers of ours and a ``cudnn.h``, in the user's cache.
Each toolkit has a folder of its own, by a name that depends on where its parts lie.
"""

import hashlib
import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from jittor_ddim.atomic import creating_folder, disk_errors
from jittor_ddim.engines.jittor.cuda.toolkit import Toolkit
from jittor_ddim.user_cache import user_cache

_OURS = Path(__file__).with_name("include")
#: Headers that the compiler finds by itself.
_SYSTEM_HEADERS = Path("/usr/include")
#: The wheels' nvcc does not find it by itself.
_LINKED_BY_NVCC = "libcudadevrt.a"
#: Jittor loads these libraries of cuDNN 8; what was in them is in cuDNN 9's ops and cnn.
_SPLIT = [(part, half) for part in ("ops", "cnn") for half in ("infer", "train")]
#: What cuDNN 9 no longer has and Jittor's recurrent networks, unused here, call.
_GONE = [
    "SetRNNDescriptor_v6", "GetRNNParamsSize", "GetRNNWorkspaceSize",
    "GetRNNTrainingReserveSize", "GetRNNLinLayerMatrixParams", "GetRNNLinLayerBiasParams",
    "RNNForwardTraining", "RNNForwardInference", "RNNBackwardData", "RNNBackwardWeights",
]  # fmt: skip


def toolkit_folder(toolkit: Toolkit) -> Path:
    """Return the folder for a toolkit; it is made if need be, safely beside other processes.

    :raises MachineError: if the cache cannot be written
    """
    contents = {"bin/nvcc": _nvcc(toolkit), "include/cudnn.h": _cudnn_header(toolkit)}
    sources = [Path(__file__), *_headers(toolkit)]
    texts = [repr(toolkit), *(file.read_text() for file in sources)]
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    major, minor = toolkit.version
    folder = user_cache() / "cuda" / f"{major}.{minor}-{key}"
    if _is_whole(folder):
        return folder
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock"):
            if not _is_whole(folder):
                _remove_useless(folder)
                with creating_folder(folder) as unfinished:
                    _fill(unfinished, toolkit, contents)
    return folder


def preprocessor_flags(toolkit: Toolkit) -> str:
    """Return what Jittor's sources need to compile with this toolkit's headers.

    CUDA 13 dropped two members of ``cudaDeviceProp``, by which Jittor chooses among GPUs; others
    of their type serve.
    """
    if not _is_13(toolkit):
        return ""
    return "-DcomputeMode=integrated -DclockRate=multiProcessorCount"


def _is_whole(folder: Path) -> bool:
    """Tell whether everything is still where the folder's links point."""
    linked = [*folder.glob("include/*"), *folder.glob("lib64/*")]
    return (folder / "bin" / "nvcc").is_file() and all(path.exists() for path in linked)


def _remove_useless(folder: Path) -> None:
    """Remove this folder and those whose toolkits were deleted."""
    for other in folder.parent.iterdir():
        if other == folder or (other.is_dir() and not _is_whole(other)):
            shutil.rmtree(other, ignore_errors=True)


def _fill(folder: Path, toolkit: Toolkit, contents: dict[str, str]) -> None:
    for part in ("bin", "include", "lib64"):
        (folder / part).mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text)
    (folder / "bin" / "nvcc").chmod(0o755)
    for header in _headers(toolkit):
        shutil.copyfile(header, folder / "include" / header.name)
    for place in (*toolkit.includes, toolkit.cudnn_header.parent):
        if place != _SYSTEM_HEADERS:
            for header in filter(Path.exists, place.iterdir()):
                _link(folder / "include" / header.name, header)
    for library in (*toolkit.libraries, *toolkit.cudnn):
        _link(folder / "lib64" / library.name, library)
        _link(folder / "lib64" / f"{library.name.partition('.so')[0]}.so", library)
    for place in {library.parent for library in toolkit.libraries}:
        for static in place.glob(_LINKED_BY_NVCC):
            _link(folder / "lib64" / static.name, static)
    if toolkit.cudnn_version >= (9, 0):
        for part, half in _SPLIT:
            whole = folder / "lib64" / f"libcudnn_{part}.so"
            _link(folder / "lib64" / f"libcudnn_{part}_{half}.so", whole.resolve())


def _link(link: Path, target: Path) -> None:
    """Link to a file, unless something of that name is there: the first one found counts."""
    with suppress(FileExistsError):
        os.symlink(target, link)


def _headers(toolkit: Toolkit) -> list[Path]:
    """This package's headers that a toolkit lacks."""
    has_limits = any((place / "npp.h").is_file() for place in toolkit.includes)
    missing = {"npp.h": not has_limits, "cub_operators.h": _is_13(toolkit)}
    return [_OURS / name for name, is_missing in missing.items() if is_missing]


def _is_13(toolkit: Toolkit) -> bool:
    return toolkit.version >= (13, 0)


def _nvcc(toolkit: Toolkit) -> str:
    """The compiler as Jittor should call it, a shell script.

    Jittor asks for C++14, for which CUDA 13's headers are too new, for fast arithmetic instead of
    float32's, and for architectures from a list that ends with 9.0.
    """
    codes = [f"-gencode arch=compute_{n},code=sm_{n}" for n in toolkit.architectures]
    newest = toolkit.architectures[-1]
    codes.append(f"-gencode arch=compute_{newest},code=compute_{newest}")
    if _is_13(toolkit):
        codes.append('-include "$(dirname "$0")/../include/cub_operators.h"')
    return f"""#!/bin/sh
for option do
  shift
  case $option in
    -std=c++14) option=-std=c++17 ;;
    --use_fast_math | -arch=* | -code=*) continue ;;
  esac
  set -- "$@" "$option"
done
exec {shlex.quote(str(toolkit.nvcc.absolute()))} {" ".join(codes)} "$@"
"""


def _cudnn_header(toolkit: Toolkit) -> str:
    """The header of cuDNN, with answers for the functions that it lacks."""
    lines = ["#pragma once", f'#include "{toolkit.cudnn_header.resolve()}"']
    if toolkit.cudnn_version >= (9, 0):
        lines += [f"#define cudnn{name}(...) CUDNN_STATUS_NOT_SUPPORTED" for name in _GONE]
    return "\n".join(lines) + "\n"
