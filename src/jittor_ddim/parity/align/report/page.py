"""The report as one page that needs no other file, and no network."""

from __future__ import annotations

import html
from pathlib import Path

import jinja2

from jittor_ddim.pages.drawings import inline, style_sheet
from jittor_ddim.parity.align.report import tables
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment

#: Of a check: its class in the style sheet.
_STATES = {"agrees": "good", "departs": "bad"}


def make_page(result: Alignment, words: Words, plots: list[tuple[str, str]]) -> str:
    """Return the page's HTML.

    :param plots: names and SVG files
    """
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    elements = [
        inline(svg, f"plot-{name}", html.escape(words(f"plot.{name}"))) for name, svg in plots
    ]
    return environment.from_string(text).render(
        words=words,
        style=style_sheet(),
        result=result,
        verdict=tables.verdict(result, words),
        findings=[tables.finding_lines(one, result, words) for one in result.findings],
        checks=tables.check_rows(result, words),
        states=[_STATES.get(check.status, "open") for check in result.checks],
        log=tables.log_rows(result, words),
        cost=tables.cost_rows(result, words),
        ratio=tables.ratio_line(result, words),
        environment=tables.environment_rows(result, words),
        plots=elements,
    )
