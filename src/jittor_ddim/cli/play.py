"""``ddim play``."""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.config import Config
from jittor_ddim.jobs.play import PlayRequest, run_play
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.recipe import NetworkWords


@grouped
def play(
    *,
    network: options.NetworkOptions,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; another address lets others in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")
    ] = 8642,
    no_browser: Annotated[
        bool, typer.Option("--no_browser", help="Do not open the page; print its address.")
    ] = False,
    verbose: options.Verbose = "info",
    engine: options.EngineOptions,
) -> None:
    """Open a page in the browser on which images form as the controls are moved.

    Nothing leaves this machine. Ctrl-C ends it. It needs the extra `play`.

    Example: ddim play --doc digits
    """
    choice = network.choice()
    words = NetworkWords(
        _command(network, engine), ", ".join(_arguments(network, choice["config"]))
    )
    request = PlayRequest(
        **choice,
        host=host,
        port=port,
        browser=not no_browser,
        announce=lambda address: typer.echo(json.dumps({"address": address})),
        words=words,
        verbose=verbose,
        engine=engine.choice(),
    )
    run_play(request)


def _command(
    network: options.NetworkOptions, engine: options.EngineOptions
) -> Callable[[Ask, Config], str | None]:
    """Return what turns a state of the page into the line that samples the same."""
    common = ["--device", engine.device, "--precision", engine.precision]

    def command(ask: Ask, config: Config) -> str | None:
        if ask.kind != "sample":
            return None
        chosen = ask.classes(config).chosen or ()
        # Several classes are rows of a grid; numbered images take them in turn, as the page does.
        mode = "--fid" if len(chosen) > 1 else "--grid"
        line = ["ddim", "sample", *_flags(network), mode, "--num_samples", str(ask.num_samples)]
        line += ["--timesteps", str(ask.timesteps), "--sampler", ask.sampler]
        line += ["--spacing", ask.spacing, "--eta", str(ask.eta), "--seed", str(ask.seed)]
        if chosen:
            line += ["--class" if len(chosen) == 1 else "--classes", *map(str, chosen)]
            line += ["--guidance", str(ask.guidance)]
        return shlex.join([*line, "--engine", ask.engine, *common])

    return command


def _given(network: options.NetworkOptions) -> dict[str, Any]:
    """Return the options that are not at their defaults."""
    usual = options.NetworkOptions()
    names = [field.name for field in fields(network)]
    return {
        name: getattr(network, name)
        for name in names
        if getattr(network, name) != getattr(usual, name)
    }


def _flags(network: options.NetworkOptions) -> Iterator[str]:
    """Yield the options as one types them."""
    hints = get_type_hints(options.NetworkOptions, include_extras=True)
    for name, value in _given(network).items():
        # In Annotated, where nothing else is a default, Typer keeps the first name there.
        flag = get_args(hints[name])[-1].default
        if value is True:
            yield flag
        for part in value if isinstance(value, list) else [] if value is True else [value]:
            yield from (flag, str(part))


def _arguments(network: options.NetworkOptions, config: Config | None) -> Iterator[str]:
    """Yield them as arguments of a NetworkChoice in Python.

    :param config: with what the command line overrides in it
    """
    given = _given(network)
    name, assignments = given.pop("config", None), given.pop("assignments", None)
    for key, value in given.items():
        yield f"{key}=Path({str(value)!r})" if isinstance(value, Path) else f"{key}={value!r}"
    if assignments and config:
        yield f"config=jd.Config.model_validate({config.model_dump(exclude_defaults=True)})"
    elif name:
        yield f"config=jd.load_config({name!r})"
