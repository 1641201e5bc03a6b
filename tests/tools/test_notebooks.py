"""A notebook has the code of its page, which the tests of the pages run, and nothing is lost."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbformat", reason="the site's tools are not installed: make docs")
ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

import make_notebooks  # noqa: E402
import nbformat  # noqa: E402


@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
@pytest.mark.parametrize("name", make_notebooks.PAGES)
def test_a_notebook_is_its_page(folder, name):
    page = (ROOT / folder / name).read_text(encoding="utf-8")
    made = make_notebooks.notebook(page, folder)
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    quoted = re.findall(r"<!-- source: .*? -->\n```python\n(.*?)\n```", page, re.DOTALL)
    assert code == [
        text
        for text in re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
        if text not in quoted
    ]
    text = "".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    headings = re.findall(r"^#+ .+$", prose, re.MULTILINE)
    assert all(heading in text for heading in headings)
    for link in re.findall(r"\]\((?!\w+://|#)([^)#]+)", text):
        assert (make_notebooks.TARGET / link).resolve().exists(), link
