"""``ddim doctor``: is everything there to train and sample?"""

from collections.abc import Iterator

import typer

from jittor_ddim.cli import options
from jittor_ddim.doctor import Finding, check_machine
from jittor_ddim.engines.choice import check_device, check_name


def doctor(engine: options.EngineName = "jittor", device: options.Device = "auto") -> None:
    """Check compiler, headers, threads, memory, GPU and one of the engines, a line each.

    Exit code 0 if all is well, else 1; what failed comes with its remedy.

    Example: ddim doctor --engine pytorch
    """
    check_name(engine)
    check_device(device, "float32")
    healthy = True
    for finding in _findings(engine, device):
        healthy &= finding.ok
        mark = "ok  " if finding.ok else "FAIL"
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{mark} {finding.name}: {finding.detail}{remedy}")
    if not healthy:
        raise typer.Exit(1)


def _findings(engine: str, device: str) -> Iterator[Finding]:
    yield from check_machine()
    if engine == "jittor":
        from jittor_ddim.engines.jittor.doctor import check_jittor

        yield from check_jittor(device)
    else:
        from jittor_ddim.engines.pytorch.doctor import check_pytorch

        yield from check_pytorch(device)
