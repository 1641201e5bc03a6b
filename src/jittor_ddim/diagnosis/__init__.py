"""Why a training goes wrong, calculated from what it left behind, without an engine."""

from pathlib import Path

from jittor_ddim.diagnosis.evidence import Evidence
from jittor_ddim.diagnosis.findings import Finding
from jittor_ddim.diagnosis.table import find_causes

__all__ = ["Evidence", "Finding", "diagnose", "find_causes"]


def diagnose(run: str | Path) -> list[Finding]:
    """Return why a run's samples are noise, dark, grey or all the same, or its loss does not fall.

    Reads config, log, newest checkpoint and up to 2048 training images; writes nothing and starts
    no engine. What is not there (images moved away, no checkpoint yet) is not judged.

    :param run: its folder, such as ``exp/logs/c10``
    :returns: the most likely cause first; empty if the run looks healthy
    :raises UserError: if it is not a run's folder, or its log is damaged
    :raises ConfigError: if its config is wrong
    """
    return find_causes(Evidence(Path(run)))
