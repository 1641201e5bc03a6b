"""``ddim convert``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.checkpoints import DTYPES
from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import read_config
from jittor_ddim.cli.sampling_options import Spacing
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.convert import ConvertRequest, run_conversion
from jittor_ddim.models import weights_path
from jittor_ddim.sampling import SamplerSettings


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A checkpoint or weights, of any known format.")
    ],
    target: Annotated[
        Path | None, typer.Argument(metavar="DST", help="What to write; it must not exist.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="native, official or diffusers.", show_default="by DST's suffix"
        ),
    ] = None,
    model: options.Model = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    ema: Annotated[
        bool | None,
        typer.Option(
            "--ema/--no-ema",
            help="Only the moving average, or only the plain weights.",
            show_default="all that DST can hold, else the average",
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", help=f"Of a native .safetensors file: {', '.join(DTYPES)} (half the size)."
        ),
    ] = "float32",
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler", help="With --format diffusers: what its scheduler samples with."
        ),
    ] = "ddim",
    spacing: Spacing = None,
    order: Annotated[
        int | None,
        typer.Option("--order", help="Of unipc and deis.", show_default="their usual one"),
    ] = None,
) -> None:
    """Convert weights or a checkpoint to another format; print what was made as JSON.

    SRC is recognised by its content: a run's folder or ckpt_N, an official checkpoint, a PyTorch
    state dict, a Jittor .pkl, a diffusers pipeline, safetensors. Code in it is never run.
    With --model, SRC is left out. Training can continue from a converted official checkpoint, and
    in the official code from a converted one of this project.

    Example: ddim convert ckpt.pth exp/logs/c10 --format native --config cifar10.yml
    """
    if model:  # then the only argument is the target
        if target:
            raise UserError(f"--model {model} and SRC {source}: leave out one of them")
        source, target = weights_path(model), source
    elif target is None:
        raise UserError("DST is missing: give SRC and DST, or --model and DST")
    if assignments and config is None:
        raise UserError("--set needs --config, the config to change")
    report = run_conversion(
        ConvertRequest(
            source=source,
            target=target,
            format=format,
            config=read_config(config, assignments) if config else None,
            ema=ema,
            dtype=dtype,
            settings=SamplerSettings(spacing=spacing, sampler=sampler, order=order),
        )
    )
    typer.echo(json.dumps(report, indent=2))
