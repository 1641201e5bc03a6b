"""``ddim evaluate``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import read_network_config, sampler_settings, warn_of_unused
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.jobs.evaluate import METRICS, EvaluateRequest, run_evaluation

#: What says how a network is sampled.
SAMPLING = ("timesteps", "eta", "skip_type", "sample_type", "num_samples", "seed")


def evaluate(
    context: typer.Context,
    images: Annotated[
        Path | None,
        typer.Argument(metavar="[IMAGES]", help="A folder, zip or npz of generated images."),
    ] = None,
    reference: options.Reference = "both",
    metrics: Annotated[
        str, typer.Option("--metrics", help=f"Which, with commas between: {','.join(METRICS)}.")
    ] = ",".join(METRICS),
    features: options.Features = "inception",
    mode: options.Mode = "clean",
    inception: options.Inception = None,
    exp: options.Exp = Path("exp"),
    doc: options.Doc = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", "--pretrained", help="Evaluate samples of this network, without files."
        ),
    ] = None,
    use_pretrained: options.UsePretrained = False,
    weights: options.WeightsKind = None,
    timesteps: options.Timesteps = 100,
    eta: options.Eta = 0.0,
    skip_type: options.SkipType = "uniform",
    sample_type: options.SampleType = "generalized",
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
    verbose: options.Verbose = "info",
    engine: options.EngineName = "jittor",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
) -> None:
    """Compute FID, KID, inception score, precision and recall; print them as JSON.

    IMAGES are compared with --reference: train, test or both of the config's data set, a folder,
    zip or npz of images, a file of statistics, or the name of a known one. Instead of IMAGES,
    --checkpoint, --doc or --use_pretrained samples from a network in passing.

    Example: ddim evaluate exp/image_samples/images --config cifar10.yml --mode clean
    """
    if images is not None:
        warn_of_unused(context, f"{images} is evaluated, nothing sampled", *SAMPLING)
        if features == "small":
            why = "small features of files need no engine"
            warn_of_unused(context, why, "engine", "device", "precision")
    of_run = images is None and not (pretrained or use_pretrained)
    result = run_evaluation(
        EvaluateRequest(
            images=images,
            reference=reference,
            metrics=tuple(metrics.replace(",", " ").split()),
            extractor=ExtractorChoice(features, mode, inception),
            exp=exp,
            doc=doc,
            config=read_network_config(config, assignments, exp, doc, of_run=of_run),
            pretrained=pretrained,
            use_pretrained=use_pretrained,
            weights=weights,
            settings=sampler_settings(timesteps, eta, skip_type, sample_type, seed),
            num_samples=num_samples,
            out=out,
            verbose=verbose,
            engine=EngineChoice(engine, device, precision),
        )
    )
    typer.echo(json.dumps(result, indent=2))
