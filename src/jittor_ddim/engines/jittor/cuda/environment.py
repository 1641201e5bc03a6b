"""What Jittor finds in its environment while it starts on a GPU."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from jittor_ddim.engines.jittor.cuda.folder import preprocessor_flags, toolkit_folder
from jittor_ddim.engines.jittor.cuda.toolkit import usable_toolkit

#: Read by NVIDIA's libraries when they start: 0 forbids them to round float32 to TF32.
_TF32 = "NVIDIA_TF32_OVERRIDE"


@contextmanager
def on_gpu(allow_tf32: bool) -> Iterator[None]:
    """Show Jittor, while it is imported, the toolkit of this machine.

    What is compiled for the CPU lies elsewhere, as Jittor would compile what both share anew.

    :param allow_tf32: let libraries round factors to TF32 where they are asked to
    :raises MachineError: if the folder cannot be made
    """
    toolkit = usable_toolkit()
    folder = toolkit_folder(toolkit)
    if allow_tf32:
        os.environ.pop(_TF32, None)
    else:
        os.environ[_TF32] = "0"
    # Loaded once under their own names, they are found wherever a library asks for them.
    libraries = [*toolkit.libraries, *(lib for lib in toolkit.cudnn if _is_main(lib.name))]
    for library in libraries:
        ctypes.CDLL(str(folder / "lib64" / library.name), ctypes.RTLD_GLOBAL)
    meanwhile = {
        "nvcc_path": str(folder / "bin" / "nvcc"),
        "cc_flags": preprocessor_flags(toolkit),
        "cache_name": f"{os.environ['cache_name']}-cuda",
        "use_mkl": "0",  # oneDNN, which is for CPUs
    }
    before = {name: os.environ.get(name) for name in meanwhile}
    os.environ.update(meanwhile)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_main(name: str) -> bool:
    return name.startswith("libcudnn.so")
