"""The report on a comparison: one page that carries everything, and its pictures as files."""

from collections.abc import Sequence
from pathlib import Path

from jittor_ddim.atomic import write_atomic
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Samples


def write_report(
    comparison: Comparison, samples: Sequence[Samples], folder: Path, language: str = "en"
) -> Path:
    """Write ``report.html``, ``plots/`` and ``images/`` into a folder and return the page's path.

    The page needs neither a network nor the other files. It stays below 6 MB: long series are
    thinned for it, animations have a bound in bytes, and large pictures are reduced.

    :param samples: what the sides drew, one element an eta; may be empty
    :param language: ``en`` or ``zh``
    :raises UserError: for another language or a folder that cannot be written to
    """
    # Not at the top: matplotlib would slow down the start of other commands.
    from jittor_ddim.compare.report.page import render_page
    from jittor_ddim.compare.report.pictures import write_pictures
    from jittor_ddim.compare.report.plots import write_plots

    words = Words(language)
    plots = write_plots(comparison, words, folder / "plots")
    pictures = write_pictures(comparison, samples, words, folder / "images")
    page = folder / "report.html"
    write_atomic(page, render_page(comparison, plots, pictures, words).encode())
    return page
