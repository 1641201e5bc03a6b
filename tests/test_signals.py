"""A stop signal is collected, and what waits in C goes on."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading

import pytest

from jittor_ddim.signals import collect_stop_signals

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_wait_for_a_lock_outlasts_a_signal(tmp_path, number):
    """Jittor's C++ waits so for the lock under which it compiles."""
    path, pipe = tmp_path / "lock", subprocess.PIPE
    line = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == "held\n"
        with path.open("w") as file, collect_stop_signals() as received:
            signals = threading.Timer(0.5, os.kill, (os.getpid(), number))
            release = threading.Timer(1.5, holder.stdin.close)
            signals.start()
            release.start()
            whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            libc = ctypes.CDLL(None, use_errno=True)
            done = libc.fcntl(file.fileno(), fcntl.F_SETLKW, ctypes.c_char_p(whole))
            assert (done, ctypes.get_errno()) == (0, 0)
            assert received == [number]
            release.join()
