"""Look at a training run, and say what may be wrong with it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import Finding, Words
from jittor_ddim.diagnosis.table import find_causes


@dataclass(frozen=True)
class DiagnoseRequest:
    """What ``ddim diagnose`` was asked for."""

    run: Path
    language: str


def run_diagnosis(request: DiagnoseRequest) -> dict[str, Any]:
    """Return what was looked at, what could not be judged and what was found.

    The most likely cause comes first; a run is only ``healthy`` if all of it could be judged.

    Every finding has its ``cause``, ``grade`` and numbers (``values``), and says in the language
    ``what`` it is, what was ``seen``, ``why`` it matters and the ``remedy``.

    :raises UserError: if it is not a run's folder, or there are no texts in this language
    """
    Words(request.language)
    evidence = Evidence(request.run)
    findings = find_causes(evidence)
    not_judged = evidence.not_judged()
    return {
        "run": str(request.run),
        "healthy": not findings and not not_judged,
        "not_judged": not_judged,
        "looked_at": evidence.looked_at(),
        "findings": [_told(finding, request.language) for finding in findings],
    }


def as_text(result: dict[str, Any], language: str) -> str:
    """Return what :func:`run_diagnosis` returned as lines for people."""
    words = Words(language)
    findings, looked_at = result["findings"], result["looked_at"]
    unread = words.listing([words(f"names.{kind}") for kind in result["not_judged"]])
    verdict = "title" if findings else "partly" if unread else "healthy"
    title = words(verdict, run=result["run"], count=len(findings), kinds=unread)
    seen = [words(f"kinds.{kind}", what=what or words("none")) for kind, what in looked_at.items()]
    lines = [title, *seen]
    for number, one in enumerate(findings, start=1):
        grade = words(f"grade.{one['grade']}")
        lines += ["", words("heading", number=number, what=one["what"], grade=grade)]
        lines += [words(f"parts.{part}", text=one[part]) for part in ("seen", "why", "remedy")]
    return "\n".join(lines)


def _told(finding: Finding, language: str) -> dict[str, Any]:
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in finding.values.items()
    }
    return {"cause": finding.cause, "grade": finding.grade, "values": values} | finding.explain(
        language
    )
