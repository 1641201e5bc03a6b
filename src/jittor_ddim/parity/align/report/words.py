"""Every text of the report, in English and in Chinese."""

from pathlib import Path

from jittor_ddim.pages import words
from jittor_ddim.parity.align.phrases import Said


class Words(words.Words):
    """The texts of one language."""

    folder = Path(__file__).parent / "languages"

    def tell(self, text: str) -> str:
        """Return what a check or a cause says in this language; other texts as they are."""
        if not isinstance(text, Said):
            return text
        values = {
            name: self.tell(value) if isinstance(value, str) else value
            for name, value in text.values.items()
        }
        return self(f"phrases.{text.key}", **values)
