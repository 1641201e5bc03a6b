"""``ddim train``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.grouping import grouped
from jittor_ddim.cli.parsing import read_config
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.train import TrainRequest, run_training
from jittor_ddim.runs.folder import find_run


@grouped
def train(
    *,
    doc: options.Doc = None,
    config: options.ConfigName = None,
    exp: options.Exp = Path("exp"),
    resume_training: options.ResumeTraining = False,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="Start from these weights, of any format, or a shipped model, not fresh ones.",
        ),
    ] = None,
    ni: options.NoInteraction = False,
    seed: options.SeedIfGiven = None,
    comment: options.Comment = "",
    assignments: options.Set = None,
    verbose: options.Verbose = "info",
    engine: options.CompilingOptions,
) -> None:
    """Train a network in EXP/logs/DOC, or continue with --resume_training.

    Example: ddim train --config cifar10.yml --doc c10
    """
    if doc is None:
        raise UserError("--doc is missing: give the run a name, for example --doc c10")
    if config is None and not resume_training:
        raise UserError("--config is missing: a file, or a shipped one such as cifar10.yml")
    source = config or find_run(exp, doc).config_path
    saved = run_training(
        TrainRequest(
            config=read_config(source, assignments),
            exp=exp,
            doc=doc,
            seed=seed,
            resume=resume_training,
            init=init,
            ask=options.asker(ni),
            comment=comment,
            verbose=verbose,
            engine=engine.choice(),
        )
    )
    typer.echo(json.dumps({"checkpoint": str(saved)}))
