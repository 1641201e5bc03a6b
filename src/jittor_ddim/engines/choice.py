"""Which engine a job uses, checked before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from jittor_ddim.engines import ENGINES, Engine, check_engine, describe_engine, load_engine
from jittor_ddim.engines.precision import DEVICES, PRECISIONS
from jittor_ddim.errors import EngineError, UserError
from jittor_ddim.ranks import Rank


@dataclass(frozen=True)
class EngineChoice:
    """The settings engine, device, precision and compile."""

    name: str = ENGINES[0]
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False

    def check(self) -> None:
        """Refuse unknown names, and an engine that is not installed.

        :raises UserError: naming the option and its values, or how to install the engine
        """
        self.check_names()
        check_engine(self.name)

    def check_names(self) -> None:
        """Refuse unknown names; for a job that may not need an engine.

        :raises UserError: naming the option and its values
        """
        check_name(self.name)
        check_device(self.device, self.precision)
        check_compile(self.compile, (self.name,))

    def check_launcher(self, rank: Rank) -> None:
        """Refuse to train in several processes that another engine's launcher has started.

        :raises EngineError: saying what to type instead
        """
        engine = describe_engine(self.name)
        if rank.is_alone or rank.launcher in engine.launchers:
            return
        ways = " or ".join(engine.launchers.values())
        instead = f"type {ways} with `engine` {self.name}" if ways else "it trains in one process"
        raise EngineError(f"{rank.launcher} does not start ranks of {engine.title}; {instead}")

    def start(self) -> Engine:
        """Start the engine; the first time on a machine this takes minutes."""
        return load_engine(self.name, self.device, self.precision, self.compile)


def check_name(engine: str) -> None:
    """Refuse an unknown engine.

    :raises UserError: naming those that exist
    """
    check_options(("engine", engine, ENGINES))


def check_device(device: str, precision: str) -> None:
    """Refuse an unknown device or precision.

    :raises UserError: naming the option and its values
    """
    check_options(("device", device, DEVICES), ("precision", precision, PRECISIONS))


def check_compile(wanted: bool, names: Sequence[str]) -> None:
    """Refuse to compile where no engine has the choice.

    :raises UserError: saying so
    """
    described = [describe_engine(name) for name in names]
    if wanted and not any(engine.compiles for engine in described):
        titles = ", ".join(engine.title for engine in described)
        raise UserError(f"`compile`: {titles} compiles by itself; leave it out")


def check_options(*options: tuple[str, str, Sequence[str]]) -> None:
    """Refuse values that an option does not take.

    :param options: (name, value, its values)
    :raises UserError: naming the option and its values
    """
    for option, value, allowed in options:
        if value not in allowed:
            raise UserError(f"`{option}` {value}: choose one of {', '.join(allowed)}")
