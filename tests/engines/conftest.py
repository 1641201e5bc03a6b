"""One test code for both engines: `pytest -m jittor` and `pytest -m pytorch` run it for each."""

import pytest
from starting import start_engine

from engines.frameworks import Framework

ENGINES = [
    pytest.param("jittor", marks=pytest.mark.jittor),
    pytest.param("pytorch", marks=pytest.mark.pytorch),
]


@pytest.fixture(scope="session", params=ENGINES)
def engine(request):
    """Each engine in turn, on the CPU."""
    return start_engine(request.param)


@pytest.fixture(scope="session")
def framework(engine):
    """The framework behind the engine."""
    return Framework(engine.name)
