"""Commands whose parameters may be groups of options, each group stated once as a dataclass."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the fields of its groups in their place.

    A parameter is a group if its type is a dataclass, whose defaults are those of the options.
    Another default of the parameter is an object with other ones.
    """
    groups: dict[str, tuple[type, dict[str, Any]]] = {}
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(annotation=kind))
            continue
        types = get_type_hints(kind, include_extras=True)
        default = kind() if parameter.default is parameter.empty else parameter.default
        defaults = {field.name: getattr(default, field.name) for field in fields(kind)}
        groups[name] = kind, defaults
        parameters += [
            inspect.Parameter(
                option,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=types[option],
            )
            for option, default in defaults.items()
        ]

    @wraps(function)
    def command(**options: Any) -> None:
        for name, (kind, defaults) in groups.items():
            options[name] = kind(**{o: options.pop(o, default) for o, default in defaults.items()})
        function(**options)

    # Typer reads both.
    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
