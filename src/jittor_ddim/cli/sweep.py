"""``ddim sweep``."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.cli.parsing import warn_of_unused
from jittor_ddim.diffusion.samplers import SAMPLERS
from jittor_ddim.engines import ENGINES
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.sweep import SweepRequest, run_sweep
from jittor_ddim.sweep.results import Variant


@grouped
def sweep(
    *,
    context: typer.Context,
    timesteps: Annotated[
        list[int] | None,
        typer.Option("--timesteps", help="S of the rows.", show_default="10 20 50 100"),
    ] = None,
    time_only: Annotated[
        list[int] | None,
        typer.Option("--time_only", help="S to time on one batch, without a distance."),
    ] = None,
    etas: Annotated[
        list[str] | None,
        typer.Option(
            "--eta",
            help="Of ddim; also names of samplers, such as ddpm_noisy.",
            show_default="0 0.5 1",
        ),
    ] = None,
    samplers: sampling_options.Samplers = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help=f"all, or one: {', '.join(ENGINES)}.",
            show_default="all that are installed",
        ),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option("--num_samples", help="N of each distance.", show_default="the config's"),
    ] = None,
    distance: options.DistanceOptions,
    network: options.NetworkOptions,
    spacing: sampling_options.Spacing = None,
    seed: options.Seed = 1234,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch_size", min=1, help="Images sampled at once.", show_default="the config's"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The sweep's folder.", show_default="EXP/sweeps/NAME"),
    ] = None,
    verbose: options.Verbose = "info",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    compile: options.Compile = False,
) -> None:
    """Fill the table of S x eta: seconds per image and FID, of all engines on the same noise.

    Each cell is measured once: repeating the command continues an interrupted sweep, and other
    --timesteps, --eta or --engine add to the table. The folder gets a Markdown table, CSV, JSON
    and plots, beside the DDIM paper's published figures.

    Example: ddim sweep --doc c10 --timesteps 10 20 50 --time_only 1000 --eta 0 1 ddpm_noisy
    """
    if time_only and not timesteps:
        of_distances = ("num_samples", *options.names_of(options.DistanceOptions))
        warn_of_unused(context, "only time is measured", *of_distances)
    result = run_sweep(
        SweepRequest(
            **network.choice(),
            timesteps=tuple(timesteps or (() if time_only else (10, 20, 50, 100))),
            time_only=tuple(time_only or ()),
            variants=_variants(etas, samplers),
            engine=engine,
            num_samples=num_samples,
            skip=spacing,
            seed=seed,
            batch_size=batch_size,
            reference=distance.reference,
            extractor=distance.extractor(),
            out=out,
            device=device,
            precision=precision,
            compile=compile,
            verbose=verbose,
            command=shlex.join(["ddim", *sys.argv[1:]]),
        )
    )
    typer.echo(json.dumps(result, indent=2))
    if result["failures"]:
        raise typer.Exit(1)


def _variants(etas: Sequence[str] | None, samplers: Sequence[str] | None) -> tuple[Variant, ...]:
    """Translate ``--eta`` and ``--samplers``; ``ddim`` among the latter is eta = 0."""
    if etas is None and samplers is None:
        etas = ("0", "0.5", "1")
    named = map(Variant.of, (0.0 if name == "ddim" else name for name in samplers or ()))
    return tuple(dict.fromkeys([*map(_variant, etas or ()), *named]))


def _variant(text: str) -> Variant:
    """Translate a value of ``--eta``.

    :raises UserError: if it is neither a number nor the name of a sampler without eta
    """
    if text.partition(":")[0] in SAMPLERS and text != "ddim":
        return Variant.of(text)
    try:
        return Variant("ddim", float(text))
    except ValueError:
        names = ", ".join(name for name in SAMPLERS if name != "ddim")
        raise UserError(f"--eta {text}: write a number, or a sampler: {names}") from None
