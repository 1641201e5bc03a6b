"""Colours as people name them."""

from typing import Annotated, Any

from PIL import ImageColor
from pydantic import BeforeValidator


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 … 255, of '#rrggbb' or of a name that Pillow knows.

    :raises ValueError: if it is no opaque colour
    """
    try:
        values = ImageColor.getrgb(colour)
    except (ValueError, AttributeError, TypeError):
        values = ()
    if len(values) != 3:
        raise ValueError("takes an opaque colour: a name, or '#rrggbb' in quotes")
    return values


def _checked(value: Any) -> Any:
    rgb(value)  # to YAML an unquoted #… is a comment, and 000000 a number
    return value


#: What a config takes as a colour.
Colour = Annotated[str, BeforeValidator(_checked)]
