"""What Jittor finds in its environment while it starts on a GPU."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from jittor_ddim.engines.environment import setting
from jittor_ddim.engines.jittor.cuda.folder import preprocessor_flags, toolkit_folder
from jittor_ddim.engines.jittor.cuda.toolkit import Toolkit, usable_toolkit
from jittor_ddim.errors import MachineError

#: Read by NVIDIA's libraries when they start: 0 forbids them to round float32 to TF32.
_TF32 = "NVIDIA_TF32_OVERRIDE"


@contextmanager
def showing_toolkit(allow_tf32: bool) -> Iterator[None]:
    """Show Jittor, while it is imported, the toolkit of this machine.

    CUDA gets a cache of its own: with other flags Jittor would recompile what it shares with the
    CPU.

    :param allow_tf32: let libraries round factors to TF32 where they are asked to
    :raises MachineError: if the folder cannot be made, or a library does not load
    """
    toolkit = usable_toolkit()
    folder = toolkit_folder(toolkit)
    if allow_tf32:
        os.environ.pop(_TF32, None)
    else:
        os.environ[_TF32] = "0"
    _load(toolkit)
    with setting(
        nvcc_path=str(folder / "bin" / "nvcc"),
        cc_flags=preprocessor_flags(toolkit),
        cache_name=f"{os.environ['cache_name']}-cuda",
        use_mkl="0",  # oneDNN, which is for CPUs
    ):
        yield


def allows_tf32() -> bool:
    """Tell whether NVIDIA's libraries, once started, may round to TF32."""
    return os.environ.get(_TF32) != "0"


def _load(toolkit: Toolkit) -> None:
    """Load the libraries: under their own names they are then found by whatever asks for them.

    From where they lie, since they look for others beside themselves.
    """
    cudnn = [lib for lib in toolkit.cudnn if lib.name.startswith("libcudnn.so")]  # loads the rest
    for library in (*toolkit.libraries, *cudnn):
        try:
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise MachineError(f"{library} does not load: {error}; install it anew") from None
