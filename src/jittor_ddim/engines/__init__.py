"""The frameworks behind one interface. Nothing outside this package imports or names them."""

import importlib
import importlib.util

from jittor_ddim import arguments
from jittor_ddim.engines.base import Descriptor, Engine
from jittor_ddim.engines.precision import check_precision
from jittor_ddim.errors import EngineError

#: The folders of this package that are engines, and registered ones; the first is the default.
ENGINES = ["jittor", "pytorch"]
_REGISTERED: dict[str, Descriptor] = {}


def register(engine: Descriptor) -> None:
    """Add an engine that has no folder in this package."""
    if engine.name not in ENGINES:
        ENGINES.append(engine.name)
    _REGISTERED[engine.name] = engine


def describe_engine(name: str) -> Descriptor:
    """Return what is known of an engine without starting it.

    :raises EngineError: naming the engines there are
    """
    if name not in ENGINES:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    found = _REGISTERED.get(name)
    return found or importlib.import_module(f"{__name__}.{name}").DESCRIPTOR


def check_engine(name: str) -> None:
    """Check that an engine exists and its framework is installed, without starting it.

    :raises EngineError: naming the engines there are, or how to install it
    """
    engine = describe_engine(name)
    if importlib.util.find_spec(engine.module) is None:
        raise EngineError(engine.install)


def load_engine(
    name: str, device: str = "auto", precision: str = "float32", compile: bool = False
) -> Engine:
    """Start a framework in this process.

    :param name: one of :data:`ENGINES`
    :param device: ``auto``, ``cpu`` or ``cuda``
    :param precision: ``float32``, ``tf32`` or ``bfloat16``
    :param compile: whether to compile networks ahead, where the engine has the choice
    :raises UserError: if the engine, the device or the precision is not available here
    """
    check_engine(name)
    arguments.instance("compile", compile, bool, "True or False")
    check_precision(precision)
    engine = describe_engine(name)
    if compile and not engine.compiles:
        raise EngineError(f"compile: {engine.title} compiles by itself; leave the option out")
    return engine.start(device, precision, compile)
