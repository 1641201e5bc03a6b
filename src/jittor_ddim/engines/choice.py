"""Which engine a job uses, checked before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from jittor_ddim.engines import ENGINES, Engine, check_engine, load_engine
from jittor_ddim.engines.precision import PRECISIONS
from jittor_ddim.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class EngineChoice:
    """The options ``--engine``, ``--device``, ``--precision`` and ``--compile``."""

    name: str = "jittor"
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False

    def check(self) -> None:
        """Refuse names that no engine knows, and an engine that is not installed.

        :raises UserError: naming the option and what it takes, or how to install the engine
        """
        self.check_names()
        check_engine(self.name)

    def check_names(self) -> None:
        """Refuse names that no engine knows; for a job that may need none.

        :raises UserError: naming the option and what it takes
        """
        check_name(self.name)
        check_device(self.device, self.precision)
        check_compile(self.compile, (self.name,))

    def start(self) -> Engine:
        """Start the engine; the first time on a machine this takes minutes."""
        return load_engine(self.name, self.device, self.precision, self.compile)


def check_name(engine: str) -> None:
    """Refuse an engine that does not exist.

    :raises UserError: naming those that do
    """
    check_options(("--engine", engine, ENGINES))


def check_device(device: str, precision: str) -> None:
    """Refuse a device or a precision that no engine knows.

    :raises UserError: naming the option and what it takes
    """
    check_options(("--device", device, DEVICES), ("--precision", precision, PRECISIONS))


def check_compile(wanted: bool, engines: Sequence[str]) -> None:
    """Refuse to compile where no engine has the choice.

    :raises UserError: saying so
    """
    if wanted and "pytorch" not in engines:
        raise UserError("--compile: Jittor compiles by itself; leave it out")


def check_options(*options: tuple[str, str, tuple[str, ...]]) -> None:
    """Refuse values that an option does not take.

    :param options: (flag, value, what it takes)
    :raises UserError: naming the option and what it takes
    """
    for option, value, allowed in options:
        if value not in allowed:
            raise UserError(f"{option} {value}: choose one of {', '.join(allowed)}")
