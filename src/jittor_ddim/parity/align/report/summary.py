"""The summary in Markdown, to paste into a README."""

from __future__ import annotations

from jittor_ddim.parity.align.report import tables
from jittor_ddim.parity.align.report.words import Words
from jittor_ddim.parity.align.results import Alignment


def summarise(result: Alignment, words: Words, plots: list[str]) -> str:
    """Return the whole summary.

    :param plots: names of the plots beside it, without their endings
    """
    first, second = (side.name for side in result.sides)
    lines = [f"## {words('title', first=first, second=second)}", ""]
    lines += [f"**{tables.verdict(result, words)}**", ""]
    if result.command:
        lines += ["```sh", result.command, "```", ""]
    for finding in result.findings:
        title, *rest = tables.finding_lines(finding, result, words)
        lines += [f"### {title}", "", *(f"- {_plain(line)}" for line in rest), ""]
    for name, (heading, rows) in (
        ("checks", tables.check_rows(result, words)),
        ("losses", tables.log_rows(result, words)),
        ("cost", tables.cost_rows(result, words)),
        ("environment", tables.environment_rows(result, words)),
    ):
        if rows:
            lines += [f"### {words(f'sections.{name}')}", "", *_table(heading, rows), ""]
        if name == "losses":
            lines += [f"![{plot}]({plot}.png)" for plot in plots] + [""] * bool(plots)
        if name == "cost" and (ratio := tables.ratio_line(result, words)):
            lines += [ratio, ""]
    return "\n".join(lines)


def _table(heading: list[str], rows: list[list[str]]) -> list[str]:
    marks = ["---"] * len(heading)
    return ["| " + " | ".join(map(_plain, row)) + " |" for row in (heading, marks, *rows)]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
