"""Why a training goes wrong, calculated from what it left behind, without an engine."""

from pathlib import Path

from jittor_ddim.diagnosis.findings import Finding

__all__ = ["Finding", "diagnose"]


def diagnose(run: str | Path) -> list[Finding]:
    """Return why a run's samples are noise, dark, grey or all the same, or its loss does not fall.

    Reads config, log, newest checkpoint and up to 2048 images; writes nothing and starts no
    engine. What is not there (images moved away, no checkpoint yet) is not judged, so that an
    empty list then says little; ``ddim diagnose`` names what it could not judge.

    :param run: its folder, such as ``exp/logs/c10``
    :returns: the most likely cause first; empty if nothing is found
    :raises UserError: if it is not a run's folder, or its log is damaged
    :raises ConfigError: if its config is wrong
    """
    # Not at the top: the package would take a fifth longer to import.
    from jittor_ddim.diagnosis.evidence import Evidence
    from jittor_ddim.diagnosis.table import find_causes

    return find_causes(Evidence(Path(run)))
