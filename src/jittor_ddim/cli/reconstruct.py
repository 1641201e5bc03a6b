"""``ddim reconstruct``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.diffusion.samplers import ENCODERS
from jittor_ddim.jobs.reconstruct import ReconstructRequest, run_reconstruction
from jittor_ddim.sampling import SamplerSettings


@grouped
def reconstruct(
    *,
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGES]", help="An image, a folder or a zip; else the held-out images."
        ),
    ] = None,
    network: options.NetworkOptions,
    timesteps: Annotated[
        list[int] | None,
        typer.Option("--timesteps", help="S each way.", show_default="10 20 50 100"),
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", help=f"Both ways: {', '.join(ENCODERS)}.")
    ] = "ddim",
    spacing: sampling_options.Spacing = None,
    num_samples: Annotated[int, typer.Option("--num_samples", min=1, help="How many.")] = 64,
    image_folder: options.ImageFolder = "reconstruction",
    ni: options.NoInteraction = False,
    verbose: options.Verbose = "info",
    engine: options.EngineOptions,
) -> None:
    """Encode images to noise and decode them again; print the error for each S as JSON.

    Example: ddim reconstruct photos/ --doc c10 --timesteps 10 100
    """
    report = run_reconstruction(
        ReconstructRequest(
            **network.choice(),
            images=images,
            settings=tuple(
                SamplerSettings(count, sampler=sampler, spacing=spacing)
                for count in timesteps or (10, 20, 50, 100)
            ),
            count=num_samples,
            image_folder=image_folder or "reconstruction",
            ask=options.asker(ni),
            verbose=verbose,
            engine=engine.choice(),
        )
    )
    typer.echo(json.dumps(report, indent=2))
