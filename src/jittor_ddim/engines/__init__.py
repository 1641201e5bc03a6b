"""The two frameworks behind one protocol. Nothing outside this package imports either of them."""

import importlib.util
from typing import NamedTuple

from jittor_ddim import arguments
from jittor_ddim.engines.base import Engine
from jittor_ddim.errors import EngineError

ENGINES = ("jittor", "pytorch")


class EngineDescription(NamedTuple):
    """What other rooms know of an engine without starting it."""

    name: str
    title: str  # for people
    module: str  # of its framework
    compiles: bool  # whether compiling the network ahead is a choice


_DESCRIPTIONS = {
    "jittor": EngineDescription("jittor", "Jittor", "jittor", False),
    "pytorch": EngineDescription("pytorch", "PyTorch", "torch", True),
}


#: The module that an engine needs, and how to get it.
_NEEDS = {
    "jittor": ("jittor", "Jittor is not installed: pip install jittor==1.3.11.0 'numpy<2'"),
    "pytorch": (
        "torch",
        "PyTorch is not installed: pip install 'jittor-ddim[pytorch]'; the jittor engine works "
        "without it",
    ),
}


def describe_engine(name: str) -> EngineDescription:
    """Return an engine's name, title and framework.

    :raises EngineError: if there is no such engine
    """
    if name not in _DESCRIPTIONS:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    return _DESCRIPTIONS[name]


def check_engine(name: str) -> None:
    """Check that an engine exists and its framework is installed, without starting it.

    :raises EngineError: saying what there is, or how to install it
    """
    if name not in ENGINES:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    module, remedy = _NEEDS[name]
    if importlib.util.find_spec(module) is None:
        raise EngineError(remedy)


def load_engine(
    name: str, device: str = "auto", precision: str = "float32", compile: bool = False
) -> Engine:
    """Start a framework in this process.

    :param name: ``jittor`` or ``pytorch``
    :param device: ``auto``, ``cpu`` or ``cuda``
    :param precision: ``float32``, ``tf32`` or ``bfloat16``
    :param compile: whether to compile the network ahead, where the engine has the choice
    :raises UserError: if the engine, the device or the precision is not to be had here
    """
    check_engine(name)
    arguments.instance("compile", compile, bool, "True or False")
    if name == "jittor":
        from jittor_ddim.engines.jittor import JittorEngine

        return JittorEngine(device, precision, compile)
    from jittor_ddim.engines.pytorch import PyTorchEngine

    return PyTorchEngine(device, precision, compile)
