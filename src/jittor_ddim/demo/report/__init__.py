"""The page of a demo, which needs no other file, and no network."""

from pathlib import Path

from jittor_ddim.atomic import write_atomic
from jittor_ddim.demo.report.page import make_page
from jittor_ddim.demo.report.plots import draw_plots
from jittor_ddim.demo.report.words import Words
from jittor_ddim.demo.results import Demo


def check_language(language: str) -> None:
    """Check that there is a page in a language.

    :raises UserError: if there is not
    """
    Words(language)


def write_report(demo: Demo, page: Path, language: str) -> Path:
    """Write the page, with ``plots/`` beside it, and return its path.

    :param language: ``en`` or ``zh``
    :raises UserError: if there is no page in this language
    """
    words = Words(language)
    plots = draw_plots(demo, words.in_figures(), page.parent / "plots")
    write_atomic(page, make_page(demo, words, plots).encode())
    return page
