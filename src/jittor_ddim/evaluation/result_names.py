"""Names of results: another question has another name, and no other answer is replaced."""

import hashlib
import json
from itertools import count
from pathlib import Path
from typing import Any

#: What differs between two answers to one question that say the same.
_PASSING = ("seconds", "images_per_s", "versions")
_LONGEST = 120  # bytes of a label; file systems allow 255 for the whole name


def name_of(source: Path) -> str:
    """Return ``m1-ckpt_20`` for m1/ckpt_20, and the like for a file without its suffix."""
    path = source.resolve()
    name = path.name if path.is_dir() else path.stem
    return f"{path.parent.name}-{name}".lstrip("-")


def free_name(folder: Path, label: str, result: dict[str, Any]) -> Path:
    """Return where a result goes: LABEL-HASH.json, and with a number if another answer is there.

    :param label: for people; the hash is of everything that was asked
    :param result: with the key ``question``
    """
    question = json.dumps(result["question"], sort_keys=True)
    digest = hashlib.sha256(question.encode()).hexdigest()[:8]
    short = label.encode()[:_LONGEST].decode(errors="ignore")
    for number in count(1):
        end = "" if number == 1 else f"-{number}"
        path = folder / f"{short}-{digest}{end}.json"
        if not path.exists() or _told(path) == json.loads(json.dumps(_lasting(result))):
            return path
    raise AssertionError("numbers do not end")


def _told(path: Path) -> dict[str, Any] | None:
    try:
        return _lasting(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):  # damaged, or not ours
        return None


def _lasting(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in _PASSING}
