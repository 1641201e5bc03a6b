"""Start Jittor: quietly, without a network, and without side effects on the rest of the process.

Left alone, ``import jittor`` prints a page of log, downloads oneDNN, tries CUDA wherever an nvcc
lies on the PATH, imports torch if it is installed, reseeds the global random generators, replaces
``sys.exit`` and ``sys.excepthook``, turns off HTTPS certificate checks and ends the process at
once on Ctrl-C or when a child is killed. Here it does not.
"""

import atexit
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import ModuleType

import numpy as np

from jittor_ddim.engines.environment import limit_spinning
from jittor_ddim.engines.jittor import DESCRIPTOR
from jittor_ddim.engines.jittor.cuda.environment import allows_tf32, showing_toolkit
from jittor_ddim.engines.jittor.cuda.toolkit import NoToolkitError, usable_toolkit
from jittor_ddim.engines.jittor.environment import settle_environment
from jittor_ddim.engines.jittor.home import at_home, jittor_home, python_at_home
from jittor_ddim.engines.jittor.onednn import ensure_onednn, onednn_folder
from jittor_ddim.errors import EngineError, MachineError
from jittor_ddim.ranks import this_rank

#: What Jittor would otherwise download for CUDA; without them it uses its own kernels.
_CUDA_EXTRAS = ("use_cutt", "use_cutlass", "use_nccl")
#: Compilers for AMD's and Huawei's devices, which Jittor would try wherever they are installed.
_OTHER_DEVICES = ("hipcc_path", "tikcc_path")
#: Jittor's ``mpi_wrapper.cc`` gathers 8 bytes of each rank into an array that is too short, by all
#: on rank 0. They overwrite what lies above it on the stack: the host's name, 1,024 bytes that are
#: not needed any more, then what is.
_MOST_RANKS = 128


def missing_for_cuda() -> list[str]:
    """Return what Jittor's CUDA path lacks on this machine; an empty list if nothing."""
    try:
        usable_toolkit()
    except NoToolkitError as reason:
        return [str(reason)]
    return []


def start(device: str, allow_tf32: bool = False) -> ModuleType:
    """Import Jittor for this device and return the module; later calls return the same one.

    :param device: ``cpu`` or ``cuda``
    :param allow_tf32: let a GPU's libraries round factors to TF32 where they are asked to; they
        read it once
    :raises EngineError: if torch is loaded, Jittor or a tool it needs is missing, or Jittor was
        started otherwise
    """
    if "torch" in sys.modules:
        raise EngineError("torch is loaded in this process; Jittor needs a process of its own")
    if "jittor" not in sys.modules:
        _prepare_environment(device)
        # What it says on the standard output would lie between results.
        with _preserved_globals(), warnings.catch_warnings(), redirect_stdout(sys.stderr):
            # Python warns of escape sequences in Jittor's sources when it recompiles them.
            warnings.simplefilter("ignore")
            with showing_toolkit(allow_tf32) if device == "cuda" else nullcontext():
                _import_jittor(device)
            _dismiss_compile_workers()
    import jittor

    if (device == "cuda") != bool(jittor.has_cuda):
        raise EngineError(
            "Jittor was started on the other device, which needs a process of its own"
        )
    if device == "cuda":
        if allows_tf32() != allow_tf32:
            raise EngineError("precision tf32 needs a process of its own in Jittor")
        _use_gpu(jittor)
    return jittor


def _use_gpu(jittor: ModuleType) -> None:
    try:
        jittor.flags.use_cuda = 1
    except RuntimeError as error:
        raise MachineError(
            "CUDA finds no GPU, though the driver does; check CUDA_VISIBLE_DEVICES and nvidia-smi"
        ) from error


def _prepare_environment(device: str) -> None:
    settle_environment()
    os.environ.setdefault("log_silent", "1")
    limit_spinning()
    os.environ["FIX_TORCH_ERROR"] = "0"  # Jittor would import torch
    # Jittor would name its cache after the git branch of any checkout around its folder, and
    # recompile everything on another branch.
    os.environ["cache_name"] = os.environ.get("cache_name") or "default"
    if device == "cpu":
        os.environ["nvcc_path"] = ""  # an nvcc without a GPU would make it try CUDA
    _settle_mpi()
    for extra in _CUDA_EXTRAS:
        os.environ.setdefault(extra, "0")
    for compiler in _OTHER_DEVICES:
        os.environ[compiler] = ""
    if not os.environ.get("python_config_path") and (script := find_python_config()):
        os.environ["python_config_path"] = script


def _settle_mpi() -> None:
    """Let Jittor compile and start MPI under mpirun alone, not wherever there is an mpicc."""
    rank = this_rank()
    wanted = rank.launcher == "mpirun"
    os.environ["use_mpi"] = "1" if wanted else "0"
    if wanted and rank.size > _MOST_RANKS:
        raise EngineError(
            f"mpirun -np {rank.size}: Jittor's MPI has room for {_MOST_RANKS} ranks; start no "
            "more, or train with another engine"
        )
    if wanted:
        _check_mpicc()


def _check_mpicc() -> None:
    """Refuse what cannot compile Jittor's part of MPI; it would say that its core is broken."""
    path = os.environ.get("mpicc_path") or "mpicc"
    if shutil.which(path) is None:
        raise EngineError(
            f"mpirun: Jittor compiles its part of MPI, and {path} is missing: apt-get install "
            "libopenmpi-dev, or name its mpicc in mpicc_path"
        )
    # Jittor asks it for its options as only Open MPI's is asked.
    asked = subprocess.run([path, "--showme:version"], capture_output=True, check=False)
    if asked.returncode:
        raise EngineError(
            f"mpirun: {path} is not Open MPI's, the one MPI that Jittor works with: apt-get "
            "install libopenmpi-dev, or name its mpicc in mpicc_path"
        )


def find_python_config() -> str | None:
    """Return the script that knows this Python's headers, or None.

    Jittor looks beside the interpreter and in /usr, in this order. A virtual environment of a
    Python that lies elsewhere has its script where that Python was installed.
    """
    name = f"python3.{sys.version_info.minor}-config"
    beside, installed = Path(sys.executable).parent, Path(sys.base_prefix) / "bin"
    folders = (beside, Path("/usr/bin"), Path("/usr/local/bin"), installed)
    return next((str(f / name) for f in folders if (f / name).is_file()), None)


def _import_jittor(device: str) -> None:
    home = jittor_home()
    with at_home(home):
        try:
            import jittor_utils
        except ModuleNotFoundError:
            raise EngineError(DESCRIPTOR.install) from None
        except OSError as error:
            raise _unusable(home, error) from None
        except Exception as error:  # Jittor raises bare exceptions for a broken compiler
            raise EngineError(
                f"Jittor cannot start: {error}; check the compiler with ddim doctor"
            ) from None
        _import_core(home, Path(jittor_utils.cache_path), device)
    import jittor

    jittor.flags.python_path = python_at_home(home, jittor.flags.python_path)


def _import_core(home: Path, cache: Path, device: str) -> None:
    is_compiled = any(cache.rglob("jittor_core*.so"))
    try:
        if device == "cpu":
            ensure_onednn(onednn_folder().parent)
        with nullcontext() if is_compiled else _compile_progress(cache):
            import jittor  # noqa: F401
    except EngineError:
        raise
    except SystemExit:  # it has renewed a library that this process has loaded
        raise MachineError(
            f"Jittor has recompiled a part of {cache}; run the command again"
        ) from None
    except Exception as error:  # it compiles and links here
        if isinstance(error, OSError) and error.errno:  # a library that cannot be loaded has none
            raise _unusable(home, error) from None
        line = " ".join(str(error).split())[:300]
        raise MachineError(
            f"Jittor's core does not start: {line}; if ddim doctor finds nothing else, delete "
            f"{compiled_folders()} and try again"
        ) from error


def compiled_folders() -> str:
    """Name, for a message, the folders that Jittor can recreate."""
    folder = jittor_home() / ".cache" / "jittor"
    return f"jt* and mkl in {folder}"


def _unusable(home: Path, error: OSError) -> MachineError:
    return MachineError(
        f"Jittor cannot work in {home / '.cache' / 'jittor'}: {error}; set JITTOR_HOME to a "
        "folder that can be written and has room"
    )


def _dismiss_compile_workers() -> None:
    """End the processes that compile Jittor's core; it starts new ones if it ever needs them.

    Idle, they hold memory, and a Ctrl-C, which a terminal sends to them too, would kill the one
    that holds the pool's lock: the pool is closed at exit and would wait for that lock forever.
    """
    import jittor_utils

    if jittor_utils.pool_size:
        atexit.unregister(jittor_utils.pool_cleanup)
        jittor_utils.pool_cleanup()
        jittor_utils.pool_size = 0


@contextmanager
def _preserved_globals() -> Iterator[None]:
    """Put back what importing Jittor changes behind the process's back."""
    hooks = sys.excepthook, sys.exit
    python_state, numpy_state = random.getstate(), np.random.get_state()
    https_context = ssl._create_default_https_context  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        sys.excepthook, sys.exit = hooks
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        ssl._create_default_https_context = https_context  # pyright: ignore
        _reinstall_signal_handlers()


def _reinstall_signal_handlers() -> None:
    """Take back two signals on which Jittor would end the process on the spot with code 1.

    Ctrl-C, and the death of any child by a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # Python lets no other thread set handlers
    for number in (signal.SIGINT, signal.SIGCHLD):
        handler = signal.getsignal(number)  # Python's view, of which Jittor knows nothing
        if handler is not None:
            signal.signal(number, handler)


@contextmanager
def _compile_progress(cache: Path) -> Iterator[None]:
    """Say on one line of stderr how far Jittor's first compile is: object files and seconds."""
    start, done = time.monotonic(), threading.Event()
    is_terminal = sys.stderr.isatty()
    text = "Compiling Jittor's core, once for this machine and environment (minutes)"

    def show() -> None:
        while not done.wait(1.0):
            files = sum(1 for _ in cache.rglob("*.o"))
            seconds = time.monotonic() - start
            print(f"\r{text}: {files} files, {seconds:.0f} s", end="", file=sys.stderr, flush=True)

    print(text, end="" if is_terminal else " …\n", file=sys.stderr, flush=True)
    watcher = threading.Thread(target=show, daemon=True)
    if is_terminal:
        watcher.start()
    outcome = "Could not compile Jittor's core"
    try:
        yield
        outcome = "Compiled Jittor's core"
    finally:
        done.set()
        if is_terminal:
            watcher.join()
        seconds = time.monotonic() - start
        clear = f"\r{' ' * (len(text) + 25)}\r" if is_terminal else ""
        print(f"{clear}{outcome} in {seconds:.0f} s", file=sys.stderr, flush=True)
