"""How a message names a setting: `` `seed` `` in Python, ``--seed`` for a person at a terminal."""

import re

_SETTING = re.compile(r"(?<!`)`([a-z][a-z0-9_]*)`(?!`)")


def with_flags(text: str) -> str:
    """Return a message with every identifier in backticks as a flag; other code in them stays."""
    return _SETTING.sub(r"--\1", text)
