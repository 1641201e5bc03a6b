"""``ddim doctor``: can this machine train and sample?"""

from itertools import chain

import typer

from jittor_ddim.cli import options
from jittor_ddim.console.flags import with_flags
from jittor_ddim.doctor import check_machine
from jittor_ddim.engines import ENGINES, describe_engine
from jittor_ddim.engines.choice import check_device, check_name


def doctor(engine: options.EngineName = ENGINES[0], device: options.Device = "auto") -> None:
    """Check compiler, headers, threads, memory, GPU and one engine, one line each.

    Exit code 0 if all is well, else 1; what failed comes with its remedy.

    Example: ddim doctor --device cuda
    """
    check_name(engine)
    check_device(device, "float32")
    healthy = True
    for finding in chain(check_machine(), describe_engine(engine).check(device)):
        healthy &= finding.ok
        mark = "ok  " if finding.ok else "FAIL"
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        typer.echo(with_flags(f"{mark} {finding.name}: {finding.detail}{remedy}"))
    if not healthy:
        raise typer.Exit(1)
