import signal

import pytest


@pytest.fixture
def restored_process(restored_logging):
    """Undo what a command does to the process it runs in: logging and signal handlers."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
