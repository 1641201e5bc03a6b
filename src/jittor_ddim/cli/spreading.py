"""Commands whose repeatable options take several values after one flag: ``--eta 0 0.5 1``."""

from collections.abc import Container, Sequence
from typing import Any

from typer.core import TyperCommand


class SpreadingCommand(TyperCommand):
    """In a command with positional arguments only numbers belong to the flag before them."""

    # Typer brings its own copy of click in some releases, so a context has no one class.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments as if the flag stood before each of its values."""
        positional = any(parameter.param_type_name == "argument" for parameter in self.params)
        repeatable = {
            name
            for parameter in self.params
            if getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        return super().parse_args(ctx, spread(args, repeatable, only_numbers=positional))


def spread(
    args: Sequence[str], repeatable: Container[str], only_numbers: bool = False
) -> list[str]:
    """Return ``--eta 0 --eta 1`` for ``--eta 0 1``.

    :param repeatable: the flags of which this is true
    :param only_numbers: what is not a number ends a flag's values
    """
    out: list[str] = []
    flag: str | None = None
    has_value = False
    for arg in args:
        if arg.startswith("-") and not (flag and _is_number(arg)):
            name, equals, _ = arg.partition("=")
            flag = name if name in repeatable else None
            has_value = bool(equals)
        elif flag and has_value and only_numbers and not _is_number(arg):
            flag = None
        elif flag:
            if has_value:
                out.append(flag)
            has_value = True
        out.append(arg)
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
