"""``ddim plot``: figures of a training run."""

import json
from pathlib import Path
from typing import Annotated

import typer


def plot(
    run: Annotated[Path, typer.Argument(help="The run's folder, which holds metrics.jsonl.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the figures.", show_default="RUN/plots")
    ] = None,
) -> None:
    """Draw loss, step time, memory and utilisation of a run; print the files as JSON.

    Example: ddim plot exp/logs/c10
    """
    # Not at the top: matplotlib would slow down the start of every other command.
    from jittor_ddim.runs.plots import plot_run

    files = plot_run(run, run / "plots" if out is None else out)
    typer.echo(json.dumps({"files": [str(path) for path in files]}))
