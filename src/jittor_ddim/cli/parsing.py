"""From what was typed to typed values."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from jittor_ddim.config import Config, load_config, with_overrides
from jittor_ddim.errors import ConfigError, UserError
from jittor_ddim.models import model_config
from jittor_ddim.runs.folder import find_run
from jittor_ddim.yaml_files import parse_yaml

_log = logging.getLogger("jittor_ddim.cli")


def read_config(name: str | Path, assignments: Sequence[str] | None) -> Config:
    """Load a config with ``KEY=VALUE`` overrides, the values in YAML's notation.

    :raises UserError: if an override is not an assignment, or a key is given twice
    :raises ConfigError: if the config is wrong
    """
    return load_config(name, _overrides(assignments))


def read_model_config(model: str, config: str | None, assignments: Sequence[str] | None) -> Config:
    """Return the config of a shipped model, with overrides as :func:`read_config` takes them.

    :param config: what was given besides, which is wrong
    :raises UserError: if there is no such model, or something is wrong with the overrides
    """
    if config is not None:
        raise UserError(f"--model {model}: has its config with it; leave out --config {config}")
    return with_overrides(model_config(model), _overrides(assignments), model)


def _overrides(assignments: Sequence[str] | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, value = assignment.partition("=")
        if not equals or "." not in key:
            raise UserError(f"--set {assignment}: write it as SECTION.KEY=VALUE")
        if key in overrides:
            raise UserError(f"--set {assignment}: {key} is set twice; leave one of them out")
        try:
            overrides[key] = parse_yaml(os.fsencode(value), key)
        except ConfigError:
            raise UserError(f"--set {assignment}: {value!r} is no YAML value") from None
    return overrides


def read_network_config(
    name: str | None,
    assignments: Sequence[str] | None,
    exp: Path,
    doc: str | None,
    *,
    of_run: bool,
) -> Config | None:
    """Load the config that stands in for a run's own: the named one, or that with overrides.

    :param of_run: whether the network is a run's, which has a config
    :returns: None where the config of the run or the weights is to be used as it is
    :raises UserError: if there is nothing to override
    """
    if name is None and not assignments:
        return None
    if name is None and not of_run:
        raise UserError("--set without a run needs --config, the config to override")
    return read_config(name or find_run(exp, doc).config_path, assignments)


def warn_of_unused(context: typer.Context, why: str, *names: str) -> None:
    """Warn of options that were typed and that this use of the command ignores.

    :param why: the end of the warning
    """
    # By its name: Typer brings its own copy of click in some releases.
    typed = [
        f"--{name.rstrip('_')}"  # of a Python keyword
        for name in names
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if typed:
        verb = "is" if len(typed) == 1 else "are"
        _log.warning("%s %s ignored: %s", ", ".join(typed), verb, why)
