"""``ddim compare``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options, sampling_options
from jittor_ddim.cli.parsing import read_config, read_model_config, warn_of_unused
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.compare import CompareRequest, run_comparison, run_log_comparison
from jittor_ddim.models import weights_path

#: What a comparison of two logs has no use for.
_OF_ENGINES = (
    "steps", "batch_size", "batch_sizes", "timesteps", "num_samples", "samplers", "seed", "device",
    "precision",
)  # fmt: skip


def compare(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN_A RUN_B …]", help="Runs to compare by their logs alone."),
    ] = None,
    config: options.ConfigName = None,
    assignments: options.Set = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Training steps per engine.")] = 60,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch_size",
            min=1,
            help="Batch size in training.",
            show_default="16; with --device cuda the config's",
        ),
    ] = None,
    batch_sizes: Annotated[
        list[int] | None,
        typer.Option("--timed_batch", min=1, help="Time calls at these batch sizes too."),
    ] = None,
    timesteps: Annotated[
        int, typer.Option("--timesteps", help="S, the network calls per sample.")
    ] = 20,
    num_samples: Annotated[
        int, typer.Option("--num_samples", min=1, max=256, help="Images sampled per engine.")
    ] = 64,
    samplers: sampling_options.Samplers = None,
    pretrained: options.Pretrained = None,
    model: options.Model = None,
    weights: options.WeightsKind = None,
    seed: options.Seed = 1234,
    exp: options.Exp = Path("exp"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where the report goes.", show_default="EXP/comparisons/CONFIG"
        ),
    ] = None,
    language: Annotated[
        str, typer.Option("--lang", help="Language of the report: en or zh.")
    ] = "en",
    verbose: options.Verbose = "info",
    device: options.Device = "auto",
    precision: options.Precision = "float32",
) -> None:
    """Compare the engines: do they compute the same model, and at what cost?

    They train and sample alternately from the same weights, data and noise, each in its own
    process, without dropout. Repeat the command to continue an interrupted comparison. Given
    two or more runs, it compares their logs.

    Example: ddim compare --config cifar10.yml --steps 60
    """
    command = shlex.join(["ddim", *sys.argv[1:]])
    if runs:
        if len(runs) < 2 or config or assignments or pretrained or model or weights:
            raise UserError("give two or more runs to compare, or --config to compare the engines")
        warn_of_unused(context, "runs are compared by their logs", *_OF_ENGINES)
        target = out or exp / "comparisons" / "-".join(run.resolve().name for run in runs)
        result = run_log_comparison(runs, target, language, verbose, command)
    else:
        if model and (pretrained or weights):
            raise UserError(f"--model {model}: leave out --pretrained and --weights")
        if config is None and model is None:
            raise UserError("--config is missing: give one to compare the engines, or two runs")
        result = run_comparison(
            CompareRequest(
                title=model or Path(config or "").name,
                config=read_model_config(model, config, assignments)
                if model
                else read_config(config or "", assignments),
                exp=exp,
                steps=steps,
                batch_size=batch_size,
                batch_sizes=tuple(batch_sizes or (1, 4)),
                timesteps=timesteps,
                num_samples=num_samples,
                samplers=tuple(samplers or ()),
                pretrained=weights_path(model) if model else pretrained,
                weights=weights,
                seed=seed,
                out=out,
                device=device,
                precision=precision,
                language=language,
                verbose=verbose,
                command=command,
            )
        )
    typer.echo(json.dumps(result, indent=2))
    if result["failures"]:
        raise typer.Exit(1)
