"""``ddim doctor``: is everything there to train and sample?"""

from collections.abc import Iterator

import typer

from jittor_ddim.cli import options
from jittor_ddim.doctor import Finding, check_machine
from jittor_ddim.jobs.engine_choice import EngineChoice


def doctor(device: options.Device = "auto") -> None:
    """Check compiler, headers, Jittor, oneDNN, threads, memory and GPU, one line each.

    Exit code 0 if all is well, else 1; what failed comes with its remedy.

    Example: ddim doctor
    """
    EngineChoice(device=device).check()
    healthy = True
    for finding in _findings(device):
        healthy &= finding.ok
        mark = "ok  " if finding.ok else "FAIL"
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{mark} {finding.name}: {finding.detail}{remedy}")
    if not healthy:
        raise typer.Exit(1)


def _findings(device: str) -> Iterator[Finding]:
    from jittor_ddim.engines.jittor.doctor import check_jittor

    yield from check_machine()
    yield from check_jittor(device)
