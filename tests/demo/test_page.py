"""The page: its words, that it is whole, and what a browser makes of it."""

import re
from pathlib import Path
from string import Formatter

import numpy as np
import pytest
from browser import browsing, needs_browser

from jittor_ddim.demo import report
from jittor_ddim.demo.pictures import draw_real
from jittor_ddim.demo.report import write_report
from jittor_ddim.demo.report.words import Words
from jittor_ddim.demo.results import Demo, Judged, Pictures, Reading, Shipped, Training
from jittor_ddim.figures.animation import animate
from jittor_ddim.pages import words
from jittor_ddim.pages.words import LANGUAGES

FOLDER = Path(report.__file__).parent
TEXTS = {language: words.texts(Words.folder, language) for language in LANGUAGES}


@pytest.fixture
def demo(tmp_path):
    grid = draw_real(tmp_path / "grid.png")
    moving = tmp_path / "moving.gif"
    animate(np.random.default_rng(0).integers(0, 256, (5, 80, 60, 1), np.uint8), moving, 2, 1)
    names = tuple("0123456789")
    rows = np.arange(1, 1201)
    validation = np.where(rows % 100 == 0, 0.3, np.nan)
    judged = [
        Judged(sampler, calls, Reading(300, 1 - 1 / calls, 0.9 - 1 / calls), 3 / calls)
        for sampler in ("ddim", "dpmpp_2m")
        for calls in (2, 5, 20)
    ]
    return Demo(
        tmp_path / "a <b> & c",
        Shipped("tiles", "monsters & <items>", 2_345_678, "--timesteps 20",
                Pictures(grid, moving, ("monster", "<item>"))),
        Training("ddim train", "PyTorch", " --engine pytorch", 652_449, 64, 150.0,
                 rows.astype(float), 1 / rows, validation),
        "--timesteps 20",
        grid,
        Reading(89, 0.978, 0.966),
        Pictures(grid, moving, names),
        tuple(judged),
    )  # fmt: skip


def placeholders(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_placeholders():
    assert set(TEXTS["en"]) == set(TEXTS["zh"])
    for key, text in TEXTS["en"].items():
        assert placeholders(text) == placeholders(TEXTS["zh"][key]), key


def test_every_text_is_used():
    sources = [*FOLDER.glob("*.py"), FOLDER / "page.html"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for key in TEXTS["en"]:
        group = key.partition(".")[0]
        built = group in ("recipe", "next", "punctuation")  # listed by their names there
        assert f"'{key}'" in code or f'"{key}"' in code or built, key


def test_chinese_is_chinese():
    for key, text in TEXTS["zh"].items():
        assert re.search(r"[一-鿿]", text) or not re.search("[A-Za-z]", text), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_one_file(demo, tmp_path, language):
    page = write_report(demo, tmp_path / "out" / "index.html", language)
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+|http-equiv", "", text)
    assert f'lang="{"zh-Hans" if language == "zh" else "en"}"' in text
    assert Words(language)("section.next") in text
    for verdict in ("95.0 %", "85.0 %", "97.8 %", "96.6 %"):
        assert verdict in text
    assert text.count(" --engine pytorch") == 4  # sample, play, the model that ships, train
    assert "<b>" not in text and "<item>" not in text and "2,345,678" in text


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_it(demo, tmp_path):
    page = write_report(demo, tmp_path / "out" / "index.html", "en")
    with browsing(tmp_path / "profile") as browser:
        for width in (1200, 390):
            browser.resize(width, 900, dark=width < 600)
            browser.open(page.as_uri())
            browser.wait("document.readyState === 'complete'")
            found = browser.js(
                "return {images: document.images.length, wide: document.body.scrollWidth,"
                "broken: [...document.images].filter(i => !i.naturalWidth).length,"
                "plots: [...document.querySelectorAll('svg')].map(s => s.clientWidth)}"
            )
            assert (found["images"], found["broken"]) == (5, 0)
            assert found["wide"] <= width
            assert len(found["plots"]) == 3 and min(found["plots"]) > 300
        assert browser.complaints() == []
