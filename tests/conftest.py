"""What the tests of all folders share."""

import logging
import signal
import warnings

import pytest
from starting import start_engine

# A shell's background jobs ignore SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def jittor_engine():
    """Jittor on the CPU; every test that takes it carries the marker `jittor`."""
    return start_engine("jittor")


@pytest.fixture(scope="session")
def pytorch_engine():
    """PyTorch on the CPU; every test that takes it carries the marker `pytorch`."""
    return start_engine("pytorch")


@pytest.fixture
def restored_logging(monkeypatch):
    """Undo what a job's `setup_logging` does to the process."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    logger = logging.getLogger("jittor_ddim")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.level, logger.propagate = level, propagate


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy of the machine's would be asked for the servers that tests run on it."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def restored_process(restored_logging):
    """Undo what a command does to the process it runs in: logging and signal handlers."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
