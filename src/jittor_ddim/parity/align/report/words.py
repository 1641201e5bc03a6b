"""Every text of the report, in English and in Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jittor_ddim.errors import UserError
from jittor_ddim.figures.fonts import chinese_font
from jittor_ddim.parity.align.phrases import Said

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

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its ``{placeholders}`` filled in."""
        text: Any = self._tree
        for part in key.split("."):
            text = text[part]
        return str(text).format(**values)

    def tell(self, text: str) -> str:
        """Return what a check or a cause says in this language; other texts as they are."""
        if not isinstance(text, Said):
            return text
        values = {
            name: self.tell(value) if isinstance(value, str) else value
            for name, value in text.values.items()
        }
        return self(f"phrases.{text.key}", **values)

    def in_figures(self) -> Words:
        """Return the words for pictures: English where no font has Chinese characters."""
        return self if self.language == "en" or chinese_font() else Words("en")
