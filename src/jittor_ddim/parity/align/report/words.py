"""Every text of the report, in English and in Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jittor_ddim.errors import UserError

#: In which a report can be written.
LANGUAGES = ("en", "zh")


class Words:
    """The texts of one language, by dotted key: ``words("check.eval")``."""

    def __init__(self, language: str) -> None:
        """:raises UserError: if there is none"""
        if language not in LANGUAGES:
            raise UserError(f"`lang` {language}: choose one of {', '.join(LANGUAGES)}")
        self.language = language
        file = Path(__file__).parent / "languages" / f"{language}.yml"
        self._tree: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))

    def has(self, key: str) -> bool:
        """Whether there is a text of this key."""
        tree: Any = self._tree
        for part in key.split("."):
            tree = tree.get(part) if isinstance(tree, dict) else None
        return tree is not None

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its ``{placeholders}`` filled in."""
        text: Any = self._tree
        for part in key.split("."):
            text = text[part]
        return str(text).format(**values)
