"""Models that do not fit are refused before the second one is built."""

from types import SimpleNamespace

import pytest

from jittor_ddim.errors import UserError
from jittor_ddim.parity.align import memory


def test_a_checkpoint_of_two_gigabytes_on_a_small_machine(monkeypatch):
    free = SimpleNamespace(available=16 * 10**9)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    said = r"side.py: with weights of 2\.0 GB .* about 24 GB more of memory, and 16 GB are free"
    with pytest.raises(UserError, match=said):
        memory.check_memory("side.py", 500_000_000)
    memory.check_memory("side.py", 300_000_000)
