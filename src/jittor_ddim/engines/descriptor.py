"""What is known of an engine without starting it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jittor_ddim.doctor import Finding
from jittor_ddim.engines.base import Engine


@dataclass(frozen=True)
class Descriptor:
    """An engine by its name; ``engines/NAME/__init__.py`` has one as ``DESCRIPTOR``."""

    name: str
    title: str  #: as people write it
    module: str  #: the Python module of the framework
    install: str  #: what to do where it is not installed
    compiles: bool  #: whether ``compile`` is a choice
    #: Start the framework in this process on a device and at a precision, compiling or not.
    start: Callable[[str, str, bool], Engine]
    #: The checks of ``ddim doctor``, given a device.
    check: Callable[[str], Iterator[Finding]]
