import re
from pathlib import Path
from string import Formatter

import pytest

from jittor_ddim.compare import report as comparison
from jittor_ddim.compare.report.words import Words
from jittor_ddim.pages import words
from jittor_ddim.pages.words import LANGUAGES

FOLDER = Path(comparison.__file__).parent
TEXTS = {language: words.texts(Words.folder, language) for language in LANGUAGES}


def placeholders(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_all_languages_have_the_same_keys_and_placeholders():
    assert {path.stem for path in (FOLDER / "languages").iterdir()} == set(LANGUAGES)
    english = TEXTS["en"]
    for language in LANGUAGES:
        others = TEXTS[language]
        assert list(others) == list(english)
        for key, text in others.items():
            assert isinstance(text, str), (language, key)
            assert placeholders(text) == placeholders(english[key]), (language, key)


def test_every_text_is_used():
    sources = [*FOLDER.glob("*.py"), FOLDER / "template.html"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for key in TEXTS["en"]:
        group, _, name = key.rpartition(".")
        whole = re.search(rf"[\"']{re.escape(key)}[\"']", code)
        # A key put together names its group or its end: f"check.{name}", "_not_compared".
        built = re.search(rf"[\"']{re.escape(group)}\.", code)
        assert whole or (built and group), key


def test_chinese_is_chinese():
    for key, text in TEXTS["zh"].items():
        english = re.sub(r"\{\w+\}|CPU|GPU|MB|η|S|zh|Hans", "", text)
        assert re.search(r"[一-鿿]", text) or not re.search(r"[A-Za-z]", english), key


@pytest.mark.parametrize("font", [None, "Noto Sans CJK JP"])
def test_figures_speak_english_where_no_font_has_chinese(monkeypatch, font):
    monkeypatch.setattr(words, "chinese_font", lambda: font)
    expected = "损失" if font else "Loss"
    assert Words("zh").in_figures()("plot.loss") == expected
    assert Words("en").in_figures()("plot.loss") == "Loss"
