"""Figures of a page: the colours of its sides, their files, and what the page holds of them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jittor_ddim.atomic import write_atomic
from jittor_ddim.figures.saving import save_figure
from jittor_ddim.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PINK, STYLE, YELLOW
from jittor_ddim.pages.words import chinese_font

#: What a page and its files call the sides, in their order; each has a colour.
ORDINALS = ("first", "second", "third", "fourth", "fifth")
#: The colour of each side, everywhere.
COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW)
#: 374 CSS pixels: as wide as a phone shows, so that no letter shrinks there.
WIDTH, HEIGHT = 5.2, 2.9
PAPER = "#FFFFFF"
_EDGE, _GRID = "#B0B0B0", "#E6E6E6"
#: The drawn colours by the page's variable, which is another one in the dark.
VARIABLES = {f"--{ordinal}": colour for ordinal, colour in zip(ORDINALS, COLOURS, strict=True)} | {
    "--ink": INK,
    "--muted": GREY,
    "--edge": _EDGE,
    "--grid": _GRID,
    "--paper": PAPER,
}
_UNDATED = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def ordinal(index: int) -> str:
    """Return what the page and its files call a side."""
    return ORDINALS[index] if index < len(ORDINALS) else f"side{index + 1}"


def style_sheet() -> str:
    """Return the CSS of every page: light, dark, print, phone."""
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def style() -> dict[Any, Any]:
    """Return the settings for ``matplotlib.rc_context``."""
    chinese = chinese_font()
    return STYLE | {
        "font.family": ["DejaVu Sans", *([chinese] if chinese else [])],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.dpi": 200,
        "axes.edgecolor": _EDGE,
        "grid.color": _GRID,
        "lines.linewidth": 1.4,
        "text.parse_math": False,  # a run's name is plain text: `$` does not start mathematics
        "svg.fonttype": "none",  # text stays text: it is searched, read out, and small
        "svg.hashsalt": "report",  # the same comparison gives the same file
    }


def write_drawing(figure: Figure, name: str, folder: Path) -> str:
    """Write a figure as ``NAME.png`` and ``NAME.svg``, in :func:`style`; return the SVG's text."""
    vector = io.BytesIO()
    figure.savefig(vector, format="svg", metadata=_UNDATED)
    write_atomic(folder / f"{name}.svg", vector.getvalue(), sync=False)
    figure.set_facecolor("white")
    save_figure(figure, folder / f"{name}.png")
    return vector.getvalue().decode()


def image_address(data: bytes, kind: str) -> str:
    """Return an image file as an address that carries it.

    :param kind: ``png``, ``gif`` or ``webp``
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def inline(text: str, name: str, title: str) -> str:
    """Return an SVG file as an element of the page.

    Its colours become the page's variables, its ids (which a page may hold only once) begin with
    ``name``, and screen readers hear ``title``, which is already escaped.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    for variable, colour in VARIABLES.items():
        element = element.replace(colour.lower(), f"var({variable})")
    return element.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
