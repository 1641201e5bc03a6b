"""``ddim sample`` and ``ddim gif``."""

import json
from collections.abc import Sequence
from typing import Any

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.guidance import Classes
from jittor_ddim.jobs.sample import SampleRequest, run_sampling
from jittor_ddim.models import read_card
from jittor_ddim.workers import hire


@grouped
def sample(
    *,
    network: options.NetworkOptions,
    pictures: sampling_options.PictureOptions,
    sampling: sampling_options.SamplingOptions,
    classes: sampling_options.ClassOptions,
    seed: options.Seed = 1234,
    workers: options.Workers = 1,
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.CompilingOptions,
) -> None:
    """Sample from a run's network: one or more of --fid --grid --sequence --interpolation --gif.

    Without --doc the experiment's only run is used, else its newest. A grid or animation by a
    --model shows all its classes as its card recommends, unless an option says how or what.

    Example: ddim sample --doc c10 --grid --gif --timesteps 50
    """
    if (code := hire(workers)) is not None:
        raise typer.Exit(code)
    make(pictures.modes, network, pictures, sampling, classes, seed, ni, verbose, engine)


@grouped
def gif(
    *,
    network: options.NetworkOptions,
    animation: sampling_options.AnimationOptions,
    sampling: sampling_options.SamplingOptions,
    classes: sampling_options.ClassOptions,
    seed: options.Seed = 1234,
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.CompilingOptions,
) -> None:
    """Animate 64 samples on their way from noise to images; `ddim sample --gif` does the same.

    Example: ddim gif --doc c10 --timesteps 100 --gif_seconds 6
    """
    pictures = sampling_options.PictureOptions(**vars(animation))
    make(("gif",), network, pictures, sampling, classes, seed, ni, verbose, engine)


def make(
    modes: Sequence[str],
    network: options.NetworkOptions,
    pictures: sampling_options.PictureOptions,
    sampling: sampling_options.SamplingOptions,
    classes: sampling_options.ClassOptions,
    seed: int,
    ni: bool,
    verbose: str,
    engine: options.EngineOptions,
) -> None:
    """Sample, and print as JSON what was made."""
    how: dict[str, Any] = {"settings": sampling.settings(seed), "classes": classes.choice()}
    if network.model and set(modes) <= {"grid", "gif"} and sampling.are_open and classes.are_open:
        how = _as_recommended(network.model, seed)
    made = run_sampling(
        SampleRequest(
            **network.choice(),
            **how,
            modes=tuple(modes),
            image_folder=pictures.image_folder,
            num_samples=pictures.num_samples,
            npz=pictures.npz,
            gif_seconds=pictures.gif_seconds,
            webp=pictures.webp,
            ask=options.asker(ni),
            verbose=verbose,
            engine=engine.choice(),
        )
    )
    if made:  # else the first of several processes prints it
        typer.echo(json.dumps({"made": [str(path) for path in made]}))


def _as_recommended(model: str, seed: int) -> dict[str, Any]:
    """Return how the card of a model that ships would have it drawn, all classes in turn."""
    card = read_card(model)
    chosen = card.facts.sampling
    return {
        "settings": chosen.settings(seed),
        "classes": Classes(tuple(range(len(card.classes))) or None, chosen.guidance),
        "as_recommended": True,
    }
