"""The files of the page: texts in every language, nothing from elsewhere, small modules."""

import json
import re
from pathlib import Path

import pytest

import jittor_ddim.play

PAGE = Path(jittor_ddim.play.__file__).parent / "page"
LANGUAGES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(PAGE.glob("languages/*.json"))
}
SCRIPTS = sorted(PAGE.rglob("*.js"))
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in [*SCRIPTS, *sorted(PAGE.glob("*.html"))]
)
#: The modules that answer it.
SERVER = "\n".join(path.read_text(encoding="utf-8") for path in PAGE.parent.glob("*.py"))


def test_languages_have_the_same_texts_with_the_same_places():
    assert list(LANGUAGES) == ["en", "zh"]
    english, chinese = LANGUAGES.values()
    assert list(english) == list(chinese)
    for key, text in english.items():
        places = re.findall(r"\{\w+\}", text)
        assert sorted(places) == sorted(re.findall(r"\{\w+\}", chinese[key])), key
        assert text.strip() and chinese[key].strip()


def test_every_text_is_used_and_every_used_text_is_there():
    texts = set(LANGUAGES["en"])
    made = {  # of a name: `control_${name}`
        key for prefix in re.findall(r"[`\"]?(\w+_)\$\{", SOURCE) for key in texts
        if key.startswith(prefix)
    }  # fmt: skip
    made |= {key for key in texts if key.startswith(("mode_", "class_"))}  # `${name}_${value}`
    written = set(re.findall(r"[\"`](\w+)[\"`]", SOURCE))
    from_server = set(re.findall(r"(?:Said|Refused)\(\s*\"(\w+)\"", SERVER))
    assert from_server and from_server <= texts
    written |= from_server
    assert texts <= made | written
    named = re.findall(r"\b(?:text|label|data-text|data-label)(?:: |=|\()\"(\w+)\"", SOURCE)
    assert set(named) <= texts
    said = re.findall(r"say\(\"(\w+)\"", SOURCE)
    assert set(said) <= texts


@pytest.mark.parametrize("name", ["network", "engine", "precision", "sampler", "timesteps",
                                  "spacing", "eta", "seed",
                                  "num_samples", "points", "variants", "strength", "class",
                                  "guidance", "gain", "mode", "other_seed"])  # fmt: skip
def test_every_control_has_a_name(name):
    assert f"control_{name}" in LANGUAGES["en"]


def test_nothing_comes_from_elsewhere():
    for path in PAGE.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|//\w+\.\w+|@import|url\(", text), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_short_and_say_what_they_are(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert lines[0].startswith("// ")
    assert all(len(line) <= 180 for line in lines)
