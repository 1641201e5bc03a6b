"""``ddim play``."""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from jittor_ddim.checkpoints.native import newest_checkpoint
from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.config import Config
from jittor_ddim.jobs.play import PlayRequest, run_play
from jittor_ddim.models import MODELS, model_to_show
from jittor_ddim.network import NetworkChoice
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.networks import Offer
from jittor_ddim.play.recipe import PICTURE, NetworkWords
from jittor_ddim.runs.folder import find_run, list_runs


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

    Without a choice it opens with a model that ships; on the page there are all of them and the
    runs of --exp. Nothing leaves this machine. Ctrl-C ends it. It needs the extra `play`.

    Example: ddim play --doc digits
    """
    chosen = _chosen(network)
    first = _offer(_name(chosen), chosen, engine)
    request = PlayRequest(
        list_offers=lambda: [first, *_others(network.exp, engine)],
        host=host,
        port=port,
        browser=not no_browser,
        announce=lambda address: typer.echo(json.dumps({"address": address})),
        verbose=verbose,
        engine=engine.choice(),
    )
    run_play(request)


def _chosen(network: options.NetworkOptions) -> options.NetworkOptions:
    """Return the network that the page opens with, a run by its name."""
    if network == options.NetworkOptions():
        return replace(network, model=model_to_show())
    if network.doc or network.model or network.pretrained or network.use_pretrained:
        return network
    return replace(network, doc=find_run(network.exp, None).doc)


def _name(network: options.NetworkOptions) -> str:
    """Return what the page calls a network, as it calls the others that :func:`_others` lists."""
    if network.model:
        return network.model
    if network.pretrained:  # the last parts of a path tell networks apart
        return "/".join(network.pretrained.resolve().parts[-2:])
    return f"published for {network.config}" if network.use_pretrained else f"logs/{network.doc}"


def _others(exp: Path, engine: options.EngineOptions) -> Iterator[Offer]:
    """Yield the models that ship, and the runs of a folder that have weights."""
    for name in MODELS:
        yield _offer(name, options.NetworkOptions(exp=exp, model=name), engine)
    for run in list_runs(exp):
        # A name in another encoding can be neither typed nor sent.
        if run.doc.isprintable() and newest_checkpoint(run.log_folder):
            yield _offer(f"logs/{run.doc}", options.NetworkOptions(exp=exp, doc=run.doc), engine)


def _offer(name: str, network: options.NetworkOptions, engine: options.EngineOptions) -> Offer:
    choice = network.choice()
    arguments = ", ".join(_arguments(network, choice["config"]))
    return Offer(name, NetworkChoice(**choice), NetworkWords(_command(network, engine), arguments))


def _command(
    network: options.NetworkOptions, engine: options.EngineOptions
) -> Callable[[Ask, Config], str | None]:
    """Return what turns a state of the page into the line that samples the same."""

    def command(ask: Ask, config: Config) -> str | None:
        if ask.kind not in ("sample", "reconstruct"):
            return None
        subcommand = _sample if ask.kind == "sample" else _reconstruct
        line = ["ddim", *subcommand(ask, config, list(_flags(network)))]
        line += ["--engine", ask.engine, "--device", engine.device, "--precision", ask.precision]
        return shlex.join(line)

    return command


def _sample(ask: Ask, config: Config, network: list[str]) -> list[str]:
    chosen = ask.named_classes(config).chosen or ()
    # Several classes are rows of a grid; numbered images take them in turn, as the page does.
    mode = "--fid" if len(chosen) > 1 else "--grid"
    line = ["sample", *network, mode, "--num_samples", str(ask.num_samples)]
    line += [*_walk(ask), "--eta", str(ask.eta), "--seed", str(ask.seed)]
    if chosen:
        line += ["--class" if len(chosen) == 1 else "--classes", *map(str, chosen)]
        line += ["--guidance", str(ask.guidance)]
    return line


def _reconstruct(ask: Ask, config: Config, network: list[str]) -> list[str]:
    return ["reconstruct", PICTURE, *network, "--num_samples", "1", *_walk(ask)]


def _walk(ask: Ask) -> list[str]:
    return ["--timesteps", str(ask.timesteps), "--sampler", ask.sampler, "--spacing", ask.spacing]


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
