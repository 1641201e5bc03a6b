"""Output that any terminal can show: a character that it lacks becomes the nearest ASCII."""

import codecs
import sys
import unicodedata

_PLAIN = {
    "×": "x",
    "…": "...",
    "–": "-",
    "—": "-",
    "→": "->",
    "·": "*",
    "•": "*",
    "≤": "<=",
    "≥": ">=",
    "²": "^2",
    "√": "sqrt",
    "“": '"',
    "”": '"',
    "’": "'",
}
_ERRORS = "jittor_ddim.nearest_ascii"


def accept_any_text() -> None:
    """Let stdout and stderr print any text, in any locale.

    A character that the terminal lacks, as under ``LC_ALL=C``, is replaced by something readable.
    A file name that is not text is printed byte by byte.
    """
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a test's stream lacks it
            reconfigure(errors=_ERRORS)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":  # a byte of a name, as Python reads what is not text
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    nearest = _PLAIN.get(letter) or bare or letter.encode("ascii", "backslashreplace").decode()
    return nearest, error.start + 1
