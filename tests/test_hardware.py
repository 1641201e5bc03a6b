"""What the processor is, read from a Linux that says so."""

from pathlib import Path

import pytest

from jittor_ddim import hardware

TEXT = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2{more}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("more", "widest"),
    [("", "avx2"), (" avx512f", "avx512f"), (" avx512f avx512_bf16", "avx512_bf16")],
)
def test_the_processor(monkeypatch, more, widest):
    monkeypatch.setattr(Path, "read_text", lambda *_: TEXT.format(more=more))
    hardware.cpu_features.cache_clear()
    assert hardware.cpu_features() == {"fpu", "avx2", *more.split()}
    assert hardware.describe_cpu().startswith("Some CPU, ")
    assert hardware.describe_cpu().endswith(f" cores, {widest}")


def test_a_system_that_does_not_say(monkeypatch):
    def unreadable(*_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    hardware.cpu_features.cache_clear()
    assert hardware.cpu_features() == frozenset()
    assert hardware.describe_cpu().startswith("unknown, ")


@pytest.fixture(autouse=True)
def forget_afterwards():
    yield
    hardware.cpu_features.cache_clear()
