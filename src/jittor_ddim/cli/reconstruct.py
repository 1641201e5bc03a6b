"""``ddim reconstruct``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import read_network_config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.jobs.reconstruct import ReconstructRequest, run_reconstruction


def reconstruct(
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGES]", help="An image, a folder or a zip; else the held-out images."
        ),
    ] = None,
    exp: options.Exp = Path("exp"),
    doc: options.Doc = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    pretrained: options.Pretrained = None,
    use_pretrained: options.UsePretrained = False,
    weights: options.WeightsKind = None,
    timesteps: Annotated[
        list[int] | None, typer.Option("--timesteps", help="S each way; repeatable.")
    ] = None,
    num_samples: Annotated[int, typer.Option("--num_samples", min=1, help="How many.")] = 64,
    image_folder: options.ImageFolder = "reconstruction",
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.EngineName = "jittor",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
) -> None:
    """Encode images to noise and decode them again; print the error for each S as JSON.

    Example: ddim reconstruct photos/ --doc c10 --timesteps 10 --timesteps 100
    """
    report = run_reconstruction(
        ReconstructRequest(
            exp=exp,
            doc=doc,
            config=read_network_config(
                config, assignments, exp, doc, of_run=not (pretrained or use_pretrained)
            ),
            pretrained=pretrained,
            use_pretrained=use_pretrained,
            weights=weights,
            images=images,
            timesteps=tuple(timesteps or (10, 20, 50, 100)),
            count=num_samples,
            image_folder=image_folder or "reconstruction",
            ask=options.asker(ni),
            verbose=verbose,
            engine=EngineChoice(engine, device, precision),
        )
    )
    typer.echo(json.dumps(report, indent=2))
