"""A cable that takes its time: what goes into one new network device comes out of another.

``python long_cable.py NAME NAME`` says "ready", reads from stdin how many seconds a frame is on
its way, and ends with stdin. For kernels without netem; the devices are TAPs.
"""

import fcntl
import os
import selectors
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_FRAME = 65536
_HELD = 20_000  # frames, as a router's buffer has an end


def plug(name: str) -> int:
    """Make a device that lasts as long as this process."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    return device


def carry(one: int, other: int) -> None:
    """Carry frames both ways until stdin ends."""
    travelling: deque[tuple[float, int, bytes]] = deque()
    seconds = 0.0
    with selectors.DefaultSelector() as ready:
        for source in (one, other, sys.stdin.fileno()):
            ready.register(source, selectors.EVENT_READ)
        while True:
            wait = max(travelling[0][0] - time.monotonic(), 0) if travelling else None
            for key, _ in ready.select(wait):
                data = os.read(key.fd, _FRAME)
                if key.fd != sys.stdin.fileno():
                    to = other if key.fd == one else one
                    if len(travelling) < _HELD:
                        travelling.append((time.monotonic() + seconds, to, data))
                elif data:
                    seconds = float(data.split()[-1])
                else:
                    return
            while travelling and travelling[0][0] <= time.monotonic():
                _, to, frame = travelling.popleft()
                with suppress(OSError):  # its end is not up
                    os.write(to, frame)


if __name__ == "__main__":
    ends = [plug(name) for name in sys.argv[1:]]
    print("ready", flush=True)
    carry(*ends)
