"""``ddim diagnose``: why is a training run going wrong?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from jittor_ddim.console.flags import with_flags


def diagnose(
    run: Annotated[Path, typer.Argument(help="The run's folder, such as exp/logs/c10.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not text.")] = False,
    language: Annotated[
        str, typer.Option("--lang", help="Language of the texts: en or zh.")
    ] = "en",
) -> None:
    """Say why a run's samples are noise, dark, grey or all the same, or its loss does not fall.

    Reads its config, log, newest weights and images; starts no engine and writes nothing. Exit
    code 0: nothing found, 3: something found.

    Example: ddim diagnose exp/logs/c10
    """
    # Not at the top: it would slow down the start of every other command.
    from jittor_ddim.jobs.diagnose import DiagnoseRequest, as_text, run_diagnosis

    result = run_diagnosis(DiagnoseRequest(run, language))
    typer.echo(with_flags(json.dumps(result, indent=2) if as_json else as_text(result, language)))
    if result["findings"]:
        raise typer.Exit(3)
