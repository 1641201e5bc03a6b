"""Every text of the report, in English and in Chinese."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from jittor_ddim.errors import UserError
from jittor_ddim.figures.fonts import chinese_font

_FOLDER = Path(__file__).parent / "languages"
#: In which a report can be written.
LANGUAGES = ("en", "zh")
#: What the page and its files call the sides, in their order; each has a colour.
ORDINALS = ("first", "second", "third", "fourth", "fifth")


class Words:
    """The texts of one language, by dotted key: ``words("verdict.aligned", count=7)``."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise UserError(f"`lang` {language}: choose one of {', '.join(LANGUAGES)}")
        self.language = language
        self._texts = texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its ``{placeholders}`` filled in."""
        return self._texts[key].format(**values)

    def listing(self, parts: list[str]) -> str:
        """Join the parts of a sentence as this language does."""
        return self("punctuation.list").join(parts)

    def sentences(self, parts: list[str]) -> str:
        """Join sentences, each with its own full stop."""
        return self("punctuation.between_sentences").join(part for part in parts if part)

    def in_figures(self) -> "Words":
        """Return the words for figures: English where matplotlib finds no Chinese font."""
        return self if self.language == "en" or chinese_font() else Words("en")


@cache
def texts(language: str) -> dict[str, str]:
    """Return the texts of a language by dotted key."""
    tree = yaml.safe_load((_FOLDER / f"{language}.yml").read_text(encoding="utf-8"))
    return dict(_flat(tree, ""))


def _flat(tree: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        below = isinstance(value, dict)
        pairs += _flat(value, f"{prefix}{key}.") if below else [(prefix + key, value)]
    return pairs


def ordinal(index: int) -> str:
    """Return what the page and its files call a side."""
    return ORDINALS[index] if index < len(ORDINALS) else f"side{index + 1}"
