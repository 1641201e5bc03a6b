"""``ddim doctor``: can this machine train and sample?"""

import json
import os
import platform
from itertools import chain
from typing import Annotated

import typer

from jittor_ddim.cli import options
from jittor_ddim.console.flags import with_flags
from jittor_ddim.doctor import Finding, check_machine
from jittor_ddim.engines import ENGINES, describe_engine
from jittor_ddim.engines.choice import check_device, check_name
from jittor_ddim.version import versions


def doctor(
    engine: options.EngineName = ENGINES[0],
    device: options.Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with versions, for a report of an error.")
    ] = False,
) -> None:
    """Check compiler, headers, threads, memory, GPU and one engine, one line each.

    Exit code 0 if all is well, else 1; what failed comes with its remedy.

    Example: ddim doctor --device cuda
    """
    check_name(engine)
    check_device(device, "float32")
    findings: list[Finding] = []
    for finding in chain(check_machine(), describe_engine(engine).check(device)):
        findings.append(finding)
        if not as_json:
            typer.echo(_line(finding))
    if as_json:
        machine = {"system": platform.platform(), "cores": os.cpu_count()}
        report = {
            "versions": versions(),
            "machine": machine,
            "engine": engine,
            "checks": [{"ok": finding.ok, **vars(finding)} for finding in findings],
        }
        typer.echo(with_flags(json.dumps(report, indent=2, ensure_ascii=False)))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    mark = "ok  " if finding.ok else "FAIL"
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    return with_flags(f"{mark} {finding.name}: {finding.detail}{remedy}")
