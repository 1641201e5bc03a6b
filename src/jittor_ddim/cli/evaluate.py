"""``ddim evaluate``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.cli.parsing import warn_of_unused
from jittor_ddim.jobs.evaluate import METRICS, EvaluateRequest, run_evaluation
from jittor_ddim.ranks import this_rank
from jittor_ddim.workers import hire


@grouped
def evaluate(
    *,
    context: typer.Context,
    images: Annotated[
        Path | None,
        typer.Argument(metavar="[IMAGES]", help="A folder, zip or npz of generated images."),
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", help=f"Which, with commas between: {','.join(METRICS)}.")
    ] = ",".join(METRICS),
    distance: options.DistanceOptions,
    network: options.NetworkOptions,
    sampling: sampling_options.SamplingOptions,
    num_samples: Annotated[
        int | None,
        typer.Option("--num_samples", min=2, help="How many samples of the network."),
    ] = None,
    seed: options.Seed = 1234,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The result's file.",
            show_default="named after all that, in EXP/evaluations",
        ),
    ] = None,
    workers: options.Workers = 1,
    verbose: options.Verbose = "info",
    engine: options.EngineOptions,
) -> None:
    """Compute FID, KID, inception score, precision and recall; print them as JSON.

    IMAGES are compared with --reference: train, test or both of the config's data set, a folder,
    zip or npz of images, a file of statistics, or the name of a known one. Instead of IMAGES,
    --checkpoint, --doc, --model or --use_pretrained evaluates samples of a network, without files.

    Example: ddim evaluate exp/image_samples/images --config cifar10.yml --mode clean
    """
    if (code := hire(workers)) is not None:
        raise typer.Exit(code)
    if images is not None:
        sampled = (*options.names_of(sampling_options.SamplingOptions), "num_samples", "seed")
        warn_of_unused(context, f"{images} is evaluated, nothing sampled", *sampled)
        if distance.features == "small":
            why = "small features of files need no engine"
            warn_of_unused(context, why, *options.names_of(options.EngineOptions))
    result = run_evaluation(
        EvaluateRequest(
            **network.choice(needed=images is None),
            images=images,
            reference=distance.reference,
            metrics=tuple(metrics.replace(",", " ").split()),
            extractor=distance.extractor(),
            settings=sampling.settings(seed),
            num_samples=num_samples,
            out=out,
            verbose=verbose,
            engine=engine.choice(),
        )
    )
    if this_rank().is_first:
        typer.echo(json.dumps(result, indent=2))
