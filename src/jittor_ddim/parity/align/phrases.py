"""What checks and causes say, in English; a report in another language says it again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

#: Beside the same phrases in other languages.
_ENGLISH = Path(__file__).parent / "report" / "languages" / "en.yml"


class Said(str):
    """An English text that knows its phrase and what was filled in, each perhaps such a text."""

    key: str
    values: dict[str, object]


def say(key: str, **values: object) -> Said:
    """Return a phrase of ``en.yml`` with its ``{placeholders}`` filled in."""
    said = Said(_phrases()[key].format(**values))
    said.key, said.values = key, values
    return said


@cache
def _phrases() -> dict[str, str]:
    return yaml.safe_load(_ENGLISH.read_text(encoding="utf-8"))["phrases"]
