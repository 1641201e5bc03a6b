"""The two frameworks behind one protocol. Nothing outside this package imports either of them."""

from jittor_ddim.engines.base import Engine
from jittor_ddim.errors import EngineError

ENGINES = ("jittor", "pytorch")


def load_engine(
    name: str, device: str = "auto", precision: str = "float32", compile: bool = False
) -> Engine:
    """Start a framework in this process.

    :param name: ``jittor`` or ``pytorch``
    :param device: ``auto``, ``cpu`` or ``cuda``
    :param precision: ``float32``
    :param compile: whether to compile the network ahead, where the engine has the choice
    :raises EngineError: if the engine, the device or the precision is not to be had here
    """
    if name == "jittor":
        from jittor_ddim.engines.jittor import JittorEngine

        return JittorEngine(device, precision, compile)
    if name == "pytorch":
        from jittor_ddim.engines.pytorch import PyTorchEngine

        return PyTorchEngine(device, precision, compile)
    raise EngineError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
