"""Measured once: parts of a benchmark that lie in files, so that a run that stopped goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic


def kept(path: Path, measure: Callable[[], Any]) -> Any:
    """Return what lies in a JSON file, or measure it; kept unless an entrant failed in it."""
    if path.exists():
        return json.loads(path.read_text())
    found = json.loads(json.dumps(measure()))
    if not _has_failure(found):
        write_atomic(path, json.dumps(found, indent=1).encode())
    return found


def _has_failure(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    return "failure" in found or any(_has_failure(value) for value in found.values())
