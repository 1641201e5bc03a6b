"""An alignment as Markdown and as one page, in English or Chinese, with plots as PNG and SVG."""

from pathlib import Path

from jittor_ddim.atomic import write_atomic
from jittor_ddim.parity.align.report.page import make_page
from jittor_ddim.parity.align.report.plots import write_plots
from jittor_ddim.parity.align.report.summary import summarise
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment


def write_report(result: Alignment, folder: Path, language: str) -> Path:
    """Write ``summary.md``, ``report.html`` and the plots; return the page's path.

    :param language: ``en`` or ``zh``
    :raises UserError: if there is no report in this language
    """
    words = Words(language)
    plots = write_plots(result, words.in_figures(), folder)
    markdown = summarise(result, words, [name for name, _ in plots])
    write_atomic(folder / "summary.md", markdown.encode())
    write_atomic(folder / "report.html", make_page(result, words, plots).encode())
    return folder / "report.html"
