"""Machines for tests: network namespaces with addresses and names of their own, on one bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
        made.callback(_ip, "link", "del", cable)  # what still runs there would keep it
        _ip("link", "set", cable, "master", _BRIDGE, "up")
        _ip("-n", namespace, "address", "add", f"{_address(machine)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")


def _address(machine: int) -> str:
    return f"10.137.59.{machine}"


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
