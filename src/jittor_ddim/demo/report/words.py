"""Every text of the page, in English and in Chinese."""

from pathlib import Path

from jittor_ddim.pages import words


class Words(words.Words):
    """The texts of one language."""

    folder = Path(__file__).parent / "languages"
