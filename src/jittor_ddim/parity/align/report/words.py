"""Every text of the report, in English and in Chinese."""

from pathlib import Path

from jittor_ddim.console import words


class Words(words.Words):
    """The texts of one language, by dotted key: ``words("check.eval")``."""

    def __init__(self, language: str) -> None:
        """:raises UserError: if there is none"""
        super().__init__(language, Path(__file__).parent / "languages")
