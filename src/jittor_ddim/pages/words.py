"""The texts of a report, in English and in Chinese."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from jittor_ddim.errors import UserError

#: In which a report can be written.
LANGUAGES = ("en", "zh")
#: Fonts with Chinese characters, as systems name them.
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # how matplotlib names the collection of all regions
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Heiti SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)

_Own = TypeVar("_Own", bound="Words")


class Words:
    """The texts of one language, by dotted key: ``words("verdict.aligned", count=7)``.

    A report's own class names the folder of its texts, one YAML file a language.
    """

    folder: ClassVar[Path]

    def __init__(self, language: str) -> None:
        """:raises UserError: if there is no report in this language"""
        if language not in LANGUAGES:
            raise UserError(f"`lang` {language}: choose one of {', '.join(LANGUAGES)}")
        self.language = language
        self._texts = texts(self.folder, language)

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text with its ``{placeholders}`` filled in."""
        return self._texts[key].format(**values)

    def listing(self, parts: list[str]) -> str:
        """Join the parts of a sentence as this language does."""
        return self("punctuation.list").join(parts)

    def sentences(self, parts: list[str]) -> str:
        """Join sentences, each with its own full stop."""
        return self("punctuation.between_sentences").join(part for part in parts if part)

    def in_figures(self: _Own) -> _Own:
        """Return the words for figures: English where matplotlib finds no Chinese font."""
        return self if self.language == "en" or chinese_font() else type(self)("en")


@cache
def texts(folder: Path, language: str) -> dict[str, str]:
    """Return the texts of a language by dotted key."""
    tree = yaml.safe_load((folder / f"{language}.yml").read_text(encoding="utf-8"))
    return dict(_flat(tree, ""))


@cache
def chinese_font() -> str | None:
    """Return the name of an installed font with Chinese characters."""
    from matplotlib.font_manager import fontManager  # slow

    installed = set(fontManager.get_font_names())
    return next((name for name in _CHINESE_FONTS if name in installed), None)


def _flat(tree: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        below = isinstance(value, dict)
        pairs += _flat(value, f"{prefix}{key}.") if below else [(prefix + key, value)]
    return pairs
