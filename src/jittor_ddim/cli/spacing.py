"""``ddim spacing``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.jobs.spacing import SpacingRequest, find_spacing


@grouped
def spacing(
    *,
    calls: Annotated[
        list[int] | None,
        typer.Option("--calls", help="Numbers of timesteps to find.", show_default="5 8 10 15 20"),
    ] = None,
    network: options.NetworkOptions,
    num_samples: Annotated[int, typer.Option("--num_samples", help="Trajectories.")] = 256,
    seed: options.Seed = 1234,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Where to write them.",
            show_default="spacing.json in the run's folder; FILE.spacing.json beside a file; "
            "EXP/spacings/MODEL.json for a --model",
        ),
    ] = None,
    verbose: options.Verbose = "info",
    engine: options.EngineOptions,
) -> None:
    """Find the timesteps that suit a network best, for sampling with few calls.

    It walks a few hundred fine trajectories and keeps the steps whose errors are least, or those
    of a common spacing where ipndm ends nearer with them; nothing is trained. Use the file with
    --spacing found:FILE.

    Example: ddim spacing --doc c10 --calls 10
    """
    report = find_spacing(
        SpacingRequest(
            **network.choice(),
            calls=tuple(calls or (5, 8, 10, 15, 20)),
            num_samples=num_samples,
            seed=seed,
            out=out,
            verbose=verbose,
            engine=engine.choice(),
        )
    )
    typer.echo(json.dumps(report, indent=2))
