"""Messages that the page has in every language."""

from typing import Any

from jittor_ddim.errors import UserError


class Said(UserError):
    """A message that the page says in its reader's language; whoever else asks reads English."""

    def __init__(self, key: str, message: str, **values: float) -> None:
        """:param key: of the page's texts

        :param message: in English
        :param values: for the text's places
        """
        super().__init__(message)
        self.words = {"key": key, **values}


def answer(error: Exception) -> dict[str, Any]:
    """Return what the page is told of an error."""
    return {"error": str(error), **({"words": error.words} if isinstance(error, Said) else {})}
