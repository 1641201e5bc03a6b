"""Start an engine for tests, or skip those that need it, saying why."""

import importlib.util
import os
import sys

import pytest

from jittor_ddim import load_engine
from jittor_ddim.engines.base import Engine

_MODULES = {"jittor": "jittor", "pytorch": "torch"}


def start_engine(name: str) -> Engine:
    """Return an engine, on the CPU unless DDIM_TEST_DEVICE says cuda.

    The two frameworks never share a process.
    """
    for other, module in _MODULES.items():
        if other != name and module in sys.modules:
            pytest.skip(f"{other} is loaded; these need a process of their own: pytest -m {name}")
    needs(name)
    return load_engine(name, device=os.environ.get("DDIM_TEST_DEVICE", "cpu"))


def needs(*names: str) -> None:
    """Skip where a framework is not installed."""
    for name in names:
        if importlib.util.find_spec(_MODULES[name]) is None:
            pytest.skip(f"{_MODULES[name]} is not installed")
