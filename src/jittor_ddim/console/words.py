"""Texts in several languages: one YAML file each, in a folder of the package that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jittor_ddim.errors import UserError

#: In which there are texts.
LANGUAGES = ("en", "zh")


class Words:
    """The texts of one language, by dotted key: ``words("check.eval")``."""

    def __init__(self, language: str, folder: Path) -> None:
        """Read ``folder/LANGUAGE.yml``.

        :raises UserError: if there is no such language
        """
        if language not in LANGUAGES:
            raise UserError(f"`lang` {language}: choose one of {', '.join(LANGUAGES)}")
        self.language = language
        text = (folder / f"{language}.yml").read_text(encoding="utf-8")
        self._tree: dict[str, Any] = yaml.safe_load(text)

    def has(self, key: str) -> bool:
        """Whether there is a text of this key."""
        tree: Any = self._tree
        for part in key.split("."):
            tree = tree.get(part) if isinstance(tree, dict) else None
        return tree is not None

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text with its ``{placeholders}`` filled in."""
        text: Any = self._tree
        for part in key.split("."):
            text = text[part]
        return str(text).format(**values)
