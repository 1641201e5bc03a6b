"""Align two models, or the logs of two trainings, and report."""

import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.series import causes
from jittor_ddim.compare.statistics import ratio_of_medians
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.errors import UserError
from jittor_ddim.parity.align import logs
from jittor_ddim.parity.align.align import Plan, align
from jittor_ddim.parity.align.phrases import say
from jittor_ddim.parity.align.report import write_report
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment, Check, Finding, SideResult
from jittor_ddim.parity.align.sides import SideFile
from jittor_ddim.parity.workplace import Workplace

RESULTS = "align.json"
#: What an alignment that fails must not leave of an earlier one.
_EARLIER = ("report.html", "summary.md", "reproduce", "arrays") + tuple(
    f"{plot}.{kind}"
    for plot in ("loss", "loss_difference", "step_time")
    for kind in ("png", "svg")
)
#: Leading steps that are not timed: kernels are compiled, memory is taken.
_WARMUP = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignRequest:
    """What ``ddim align`` was asked for."""

    sides: tuple[Path, Path]
    pythons: tuple[str | None, str | None]  # None: this one
    steps: int
    precision: str | None  # None: that of the roughest parameter
    limit: float  # seconds for each task of a side
    accepted: tuple[str, ...]  # causes that may be
    exp: Path
    out: Path | None  # None: exp/alignments/A-B
    language: str
    verbose: str
    command: str  # what was typed, for the report


@dataclass(frozen=True)
class AlignLogsRequest:
    """What ``ddim align logs`` was asked for."""

    logs: tuple[Path, Path]
    pattern: str | None  # a regular expression with a group loss
    tolerance: float  # of the losses, relative
    exp: Path
    out: Path | None
    language: str
    verbose: str
    command: str


def run_alignment(request: AlignRequest) -> dict[str, Any]:
    """Align both sides and return the verdict and where the report is.

    :raises UserError: for a side that cannot be used, naming it
    """
    setup_logging(None, request.verbose)
    Words(request.language)  # refuses one in which there is no report
    files = [
        SideFile(path, python) for path, python in zip(request.sides, request.pythons, strict=True)
    ]
    plan = Plan(
        (files[0], files[1]), request.steps, request.precision, request.limit, request.accepted
    )
    plan.check()
    folder = request.out or request.exp / "alignments" / "-".join(p.stem for p in request.sides)
    with _claimed(folder):
        try:
            result = align(plan, folder)
        finally:
            shutil.rmtree(folder / "arrays", ignore_errors=True)
        result.command = request.command
        _add_cost(result)
        return _report(result, folder, request.language)


def run_log_alignment(request: AlignLogsRequest) -> dict[str, Any]:
    """Compare the losses of two logs and return the verdict and where the report is.

    :raises UserError: if a log has no losses, or they have no step in common
    """
    setup_logging(None, request.verbose)
    Words(request.language)
    found = [logs.read_losses(path, request.pattern) for path in request.logs]
    steps, *losses = logs.in_common(found[0], found[1])
    folder = request.out or request.exp / "alignments" / "-".join(p.stem for p in request.logs)
    names = [path.stem for path in request.logs]
    if names[0] == names[1]:
        names = [f"{path.parent.name}/{path.stem}" for path in request.logs]
    sides = [
        SideResult(name, str(path), losses=own, steps={"step": [float(step) for step in steps]})
        for name, path, own in zip(names, request.logs, losses, strict=True)
    ]
    gap, place = logs.largest_gap(losses[0], losses[1])
    where = say("step", step=steps[place])
    status = "agrees" if gap <= request.tolerance else "departs"
    result = Alignment(sides, "float32", command=request.command)
    result.checks = [Check("losses", status, len(steps), gap, request.tolerance, where)]
    if status == "departs":
        gaps = (abs(a - b) <= request.tolerance * abs(a) for a, b in zip(*losses, strict=True))
        first = next(step for step, near in zip(steps, gaps, strict=True) if not near)
        result.findings = [Finding("losses", where=say("step", step=first), difference=gap)]
    with _claimed(folder):
        return _report(result, folder, request.language)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Work alone in a folder, without what an earlier alignment has left there.

    :raises UserError: naming it, if it holds anything else, or another process works in it
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another `out`")
    with Workplace("alignment", frozenset()).held(folder):
        if (folder / RESULTS).is_file():
            for path in (folder / name for name in _EARLIER):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif folder.is_dir() and next(folder.iterdir(), None):
            raise UserError(f"{folder}: is not empty and holds no alignment; choose another `out`")
        write_atomic(folder / RESULTS, b"{}")
        yield


def _add_cost(result: Alignment) -> None:
    """Add what a step costs on either side, and the ratio with its interval."""
    timed = []
    for side in result.sides:
        columns = {name: np.array(column, float) for name, column in side.steps.items()}
        seconds = columns["step_time_s"]
        columns["step"] = np.arange(len(seconds), dtype=float)
        columns["data_time_s"] = np.zeros(len(seconds))
        why = causes(columns, min(_WARMUP, len(seconds) // 2))
        kept = seconds[min(_WARMUP, len(seconds) // 2) :]
        timed.append(kept.tolist())
        median = float(np.median(kept))
        slow = Counter(cause for cause in why if cause and cause != "warmup")
        busy = columns["cpu_time_s"][-len(kept) :] / kept
        memory = side.cost.get("peak_host_memory_mb", math.nan)
        side.cost = {
            "step": f"{median:.4g}",
            "rate": f"{result.batch_size / median:.4g}",
            "busy": f"{float(np.median(busy)):.2f}",
            "memory": f"{memory:,.0f}",
            "slow": dict(slow),
        }
    if min(map(len, timed)) > 1:
        result.ratio = [*ratio_of_medians(timed[0], timed[1]), float(len(timed[0]))]


def _report(result: Alignment, folder: Path, language: str) -> dict[str, Any]:
    text = json.dumps(asdict(result), indent=1, default=str)
    write_atomic(folder / RESULTS, text.encode())
    page = write_report(result, folder, language)
    _log.info("Report: %s", page)
    return {
        "aligned": result.aligned,
        "report": str(page),
        "summary": str(folder / "summary.md"),
        "results": str(folder / RESULTS),
        "checks": {check.name: check.status for check in result.checks},
        "findings": _told(result.findings),
    }


def _told(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "check": finding.check,
            "module": finding.module,
            "where": finding.where,
            "cause": finding.cause.name if finding.cause else None,
            "evidence": finding.cause.evidence if finding.cause else None,
        }
        for finding in findings
    ]
