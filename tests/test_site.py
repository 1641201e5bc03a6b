"""The site is built without a network, and no page of it asks for anything from elsewhere."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site():
    if find_spec("zensical") is None:
        pytest.skip("the site's tools are not installed: make docs")
    command = [sys.executable, ROOT / "tools" / "build_site.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return ROOT / "site"


@pytest.mark.slow
def test_every_page_is_there(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in (site / "docs").glob("*.html")}
    assert "fid" in (site / "reference" / "python.html").read_text(encoding="utf-8")
    keys = (site / "reference" / "config.html").read_text(encoding="utf-8")
    assert "num_diffusion_timesteps" in keys and "threads that prepare batches" in keys


@pytest.mark.slow
def test_nothing_is_fetched(site):
    fetching = re.compile(r"<(?:script|link|img|iframe|source)[^>]*(?:src|href)=\"?(https?:)?//")
    for page in site.rglob("*.html"):
        assert not fetching.search(page.read_text(encoding="utf-8")), page


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser(site):
    text = (site / "docs" / "tutorial.html").read_text(encoding="utf-8")
    assert text.count("<math") > 10 and "$$" not in text
    assert 'href="../math.css"' in text and (site / "math.css").exists()


@pytest.mark.slow
def test_chinese_lines_are_joined_without_a_space(site):
    for page in (site / "docs" / "zh").glob("*.html"):
        text = re.sub(r"<pre.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"[\u3001-\uffef]\n *[\u3001-\uffef]", text), page
