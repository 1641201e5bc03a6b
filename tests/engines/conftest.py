"""One test code for both engines: `pytest -m jittor` and `pytest -m pytorch` run it for each."""

import pytest
from starting import start_engine

from engines.frameworks import Framework


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in NAMES],
)
def engine(request):
    """Each engine in turn, on the CPU."""
    return start_engine(request.param)


@pytest.fixture(scope="session")
def framework(engine):
    """The framework behind the engine."""
    return Framework(engine.name)
