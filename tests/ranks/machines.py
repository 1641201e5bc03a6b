"""Machines for tests: network namespaces with addresses and names of their own, on one bridge."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

_BRIDGE = "ddim-test"
_INSIDE = ("ip", "netns", "exec")


def name(machine: int) -> str:
    """Return what a machine is called, on all of them."""
    return f"ddim-{machine}"


def on(machine: int, command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command on a machine, which knows its own name."""
    inside = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name(machine), *command]
    return [*_INSIDE, name(machine), *inside]


def cut_off(machine: int) -> None:
    """Pull a machine's cable."""
    _ip("link", "set", f"ddim-v{machine}", "down")


def limit(machine: int, mbit: float) -> None:
    """Let a machine receive at most so many Mbit/s."""
    bucket = ["tbf", "rate", f"{mbit}mbit", "burst", "8kb", "latency", "400ms"]
    _run("tc", "qdisc", "replace", "dev", f"ddim-v{machine}", "root", *bucket)


def delay(cable: subprocess.Popen[str], seconds: float) -> None:
    """Let what passes a long cable take so long, in either direction."""
    assert cable.stdin
    print(seconds, file=cable.stdin, flush=True)


@contextmanager
def long_cable(machine: int) -> Iterator[subprocess.Popen[str]]:
    """Replace a machine's cable by one that can be made long."""
    program, ends = Path(__file__).with_name("long_cable.py"), (f"ddim-w{machine}", "ddim-inside")
    line = [sys.executable, str(program), *ends]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as cable:
        assert cable.stdout and cable.stderr
        if cable.stdout.readline() != "ready\n":
            pytest.skip(f"no TAP devices here: {cable.stderr.read().strip()[-200:]}")
        _ip("link", "del", f"ddim-v{machine}")
        _ip("link", "set", ends[1], "netns", name(machine))
        _ip("-n", name(machine), "link", "set", ends[1], "name", "eth0")
        _connect(machine, ends[0])
        yield cable


@contextmanager
def machines(count: int) -> Iterator[None]:
    """Let so many machines exist meanwhile; skip the test where that is not allowed."""
    if os.getuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and Debian's iproute2")
    with ExitStack() as made:
        try:
            _make(count, made)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield


def _make(count: int, made: ExitStack) -> None:
    _ip("link", "add", _BRIDGE, "type", "bridge")
    made.callback(_ip, "link", "del", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")
    lines = [f"{_address(machine)} {name(machine)}" for machine in range(1, count + 1)]
    for machine in range(1, count + 1):
        namespace, cable = name(machine), f"ddim-v{machine}"
        _ip("netns", "add", namespace)
        made.callback(_ip, "netns", "del", namespace)
        # `ip netns exec` puts what lies here in the place of /etc/hosts.
        folder = Path("/etc/netns", namespace)
        folder.mkdir(parents=True, exist_ok=True)
        made.callback(shutil.rmtree, folder)
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        made.callback(_unplug, cable)  # what still runs there would keep it
        _connect(machine, cable)


def _connect(machine: int, cable: str) -> None:
    """Plug the near end of a cable into the bridge; its far end is the machine's eth0."""
    _ip("link", "set", cable, "master", _BRIDGE, "up")
    _ip("-n", name(machine), "address", "add", f"{_address(machine)}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", name(machine), "link", "set", device, "up")


def _unplug(cable: str) -> None:
    with suppress(subprocess.CalledProcessError):  # a long one has taken its place
        _ip("link", "del", cable)


def _address(machine: int) -> str:
    return f"10.137.59.{machine}"


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
