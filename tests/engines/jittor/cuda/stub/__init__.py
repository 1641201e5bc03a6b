"""CUDA as stubs: Jittor starts, compiles and links every kernel for a GPU, and computes nothing.

For machines without a GPU. No number that comes out of it is a result.
"""

import os
import subprocess
from pathlib import Path

from jittor_ddim.engines.jittor.cuda.toolkit import Toolkit

HERE = Path(__file__).parent
#: The stub of each of CUDA's libraries, and what it is compiled with.
STUBS = {
    "cudart": "runtime.cc",
    "cudnn": "cudnn.cc",
    "cublas": "libraries.cc -DSTUB_CUBLAS",
    "curand": "libraries.cc -DSTUB_CURAND",
    "cusparse": "libraries.cc -DSTUB_CUSPARSE",
}


def make_stub(real: Toolkit, folder: Path) -> dict[str, str]:
    """Make a toolkit whose libraries need no GPU, and return the environment that shows it.

    :param real: from which everything else comes
    :param folder: where to; it must not exist
    """
    for part in ("bin", "lib64", "driver"):
        (folder / part).mkdir(parents=True)
    (folder / "include").symlink_to(real.cudnn_header.parent)
    wrapper = folder / "bin" / "nvcc"
    wrapper.write_text(f'#!/bin/sh\nexec {real.nvcc} "$@"\n')
    wrapper.chmod(0o755)
    static = next(f for lib in real.libraries for f in lib.parent.glob("libcudadevrt.a"))
    (folder / "lib64" / static.name).symlink_to(static)
    for library in real.libraries + real.cudnn:
        stem = library.name.partition(".so")[0].removeprefix("lib")
        if stem in STUBS:
            _compile_stub(real, library, stem, folder / "lib64")
        else:
            (folder / "lib64" / library.name).symlink_to(library)
    for name in ("libcuda.so", "libnvidia-ml.so.1"):
        _run("cc", "-shared", "-fPIC", "-o", folder / "driver" / name, HERE / "driver.c")
    return {
        "nvcc_path": str(wrapper),
        "LD_LIBRARY_PATH": f"{folder / 'driver'}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }


def _compile_stub(real: Toolkit, library: Path, stem: str, folder: Path) -> None:
    """Compile a library's stub; what it lacks the real one has, which keeps its own name."""
    source, *flags = STUBS[stem].split()
    includes = [f"-I{place}" for place in (*real.includes, real.cudnn_header.parent)]
    target = folder / library.name
    _run(
        "g++", "-shared", "-fPIC", "-O1", *flags, *includes, "-o", target, HERE / source,
        f"-Wl,-soname,{library.name}.stub", f"-Wl,-rpath,{library.parent}",
        "-Wl,--no-as-needed", library,
    )  # fmt: skip


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)
