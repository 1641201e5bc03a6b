"""Which engine a job uses, checked before it starts."""

from dataclasses import dataclass

from jittor_ddim.engines import ENGINES, Engine, load_engine
from jittor_ddim.errors import UserError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32",)


@dataclass(frozen=True)
class EngineChoice:
    """The options ``--engine``, ``--device`` and ``--precision``."""

    name: str = "jittor"
    device: str = "auto"
    precision: str = "float32"

    def check(self) -> None:
        """Refuse names that no engine knows.

        :raises UserError: naming the option and what it takes
        """
        for option, value, allowed in (
            ("--engine", self.name, ENGINES),
            ("--device", self.device, DEVICES),
            ("--precision", self.precision, PRECISIONS),
        ):
            if value not in allowed:
                raise UserError(f"{option} {value}: choose one of {', '.join(allowed)}")

    def start(self) -> Engine:
        """Start the engine; the first time on a machine this takes minutes."""
        return load_engine(self.name, self.device, self.precision)
