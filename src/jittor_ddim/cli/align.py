"""``ddim align``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.cli.parsing import warn_of_unused
from jittor_ddim.errors import UserError

_OF_SIDES = ("steps", "python_a", "python_b", "precision", "time_limit", "accept")
_OF_LOGS = ("pattern", "tolerance")
_LOGS = "logs"


def align(
    context: typer.Context,
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="SIDE_A SIDE_B | logs LOG_A LOG_B",
            help="Two Python files, one a side; or the word logs and two logs.",
        ),
    ],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps per side.")] = 10,
    python_a: Annotated[
        str | None,
        typer.Option("--python_a", help="The Python for SIDE_A.", show_default="this one"),
    ] = None,
    python_b: Annotated[
        str | None,
        typer.Option("--python_b", help="The Python for SIDE_B.", show_default="this one"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="What is computed in, for the tolerances: float64, float32, tf32, float16 or "
            "bfloat16.",
            show_default="that of the roughest parameter",
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time_limit", min=1, help="Seconds for each task of a side.")
    ] = 600.0,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            help="A cause that may be, as batchnorm_variance; repeatable.",
            show_default="none",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            help="Of logs: a regular expression with groups (?P<loss>…) and perhaps (?P<step>…).",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, help="Of logs: how far losses may be apart, relative."),
    ] = 1e-3,
    exp: options.Exp = Path("exp"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the report goes.", show_default="EXP/alignments/A-B"),
    ] = None,
    language: Annotated[
        str, typer.Option("--lang", help="Language of the report: en or zh.")
    ] = "en",
    verbose: options.Verbose = "info",
) -> None:
    """Are two models the same, one a port of the other, and where do they first depart?

    A side is a file with build(weights), batch(step) and loss(model, batch). Exit code 0:
    aligned, 3: not aligned.

    Example: ddim align jittor_side.py pytorch_side.py
    """
    # Not at the top: it would slow down the start of every other command.
    from jittor_ddim.jobs.align import (
        AlignLogsRequest,
        AlignRequest,
        run_alignment,
        run_log_alignment,
    )

    command = shlex.join(["ddim", *sys.argv[1:]])
    paths = [Path(side) for side in sides if side != _LOGS]
    if len(paths) != 2:
        raise UserError("give two sides, SIDE_A SIDE_B, or two logs, logs LOG_A LOG_B")
    both = (paths[0], paths[1])
    if sides[0] == _LOGS:
        warn_of_unused(context, "logs are compared by their losses", *_OF_SIDES)
        result = run_log_alignment(
            AlignLogsRequest(both, pattern, tolerance, exp, out, language, verbose, command)
        )
    else:
        warn_of_unused(context, "they are of logs", *_OF_LOGS)
        pythons = (python_a, python_b)
        result = run_alignment(
            AlignRequest(
                both,
                pythons,
                steps,
                precision,
                time_limit,
                tuple(accept or ()),
                exp,
                out,
                language,
                verbose,
                command,
            )
        )
    typer.echo(json.dumps(result, indent=2))
    if not result["aligned"]:
        raise typer.Exit(3)
