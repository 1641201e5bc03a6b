"""What the documents show and name exists, and both READMEs say the same."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import jittor_ddim as jd

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ENGLISH = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted((ROOT / "docs" / "zh").glob("*.md"))  # those that are in both languages
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")


def code_blocks(text):
    return re.findall(r"^ *```(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def prose(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text):
    return re.findall(r'(?:src="|\]\()([^")]+)', prose(text))


def anchors(text):
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    local = [link for link in links(document.read_text(encoding="utf-8")) if "://" not in link]
    for link in local:
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("english", ENGLISH, ids=lambda path: path.name)
def test_a_page_leads_to_its_translation_or_says_that_there_is_none(english):
    chinese = english.parent / "zh" / english.name
    head = english.read_text(encoding="utf-8").splitlines()[2]
    if chinese.exists():
        assert head == f"[中文](zh/{english.name})"
        assert (
            chinese.read_text(encoding="utf-8").splitlines()[2] == f"[English](../{english.name})"
        )
    else:
        assert "there is no Chinese translation yet" in head


@pytest.mark.parametrize("chinese", PAGES, ids=lambda path: path.name)
def test_both_languages_of_a_page_say_the_same(chinese):
    english = ROOT / "docs" / chinese.name
    texts = [path.read_text(encoding="utf-8") for path in (english, chinese)]

    def targets(page, text):
        paths = [link.partition("#")[0] for link in links(text)]
        paths = [path or page.name for path in paths]  # a link within the page
        found = [path if ":" in path else str((page.parent / path).resolve()) for path in paths]
        return Counter(
            path.replace("docs/zh/", "docs/").replace(".zh.md", ".md") for path in found
        )

    assert targets(english, texts[0]) == targets(chinese, texts[1])
    assert code_blocks(texts[0]) == code_blocks(texts[1])
    levels, *others = r"^#+(?= )", r"`([^`]+)`", r"\d+(?:[.,]\d+)*"
    found = [re.findall(levels, prose(text), re.MULTILINE) for text in texts]
    assert found[0] == found[1]
    for pattern in others:  # one language may name a thing once more than the other
        named = [set(re.findall(pattern, prose(text))) for text in texts]
        assert named[0] == named[1]


@pytest.mark.parametrize("page", [ROOT / "README.zh.md", *PAGES], ids=lambda path: path.name)
def test_chinese_pages_lead_to_chinese_ones(page):
    text = "".join(page.read_text(encoding="utf-8").splitlines(keepends=True)[3:])
    targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(text)}
    translated = {ROOT / "README.md", *(ROOT / "docs" / path.name for path in PAGES)}
    assert targets & translated == set()


def run_page(name, tmp_path):
    command = [sys.executable, ROOT / "tools" / "run_page.py", ROOT / "docs" / name]
    done = subprocess.run(
        [*command, "--check", "--images", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_says(tmp_path):
    run_page("tutorial.md", tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    shown = re.findall(r"images/(tutorial-\w+\.png)", (ROOT / "docs" / "tutorial.md").read_text())
    assert drawn == set(shown)


@pytest.mark.slow
@pytest.mark.jittor
def test_the_tutorial_on_images_runs_and_prints_what_it_says(tmp_path):
    run_page("tutorial-images.md", tmp_path)
    page = (ROOT / "docs" / "tutorial-images.md").read_text(encoding="utf-8")
    shown = re.findall(r"images/(tutorial-images-[\w-]+\.png)", page)
    assert {path.name for path in tmp_path.iterdir()} == set(shown)


@pytest.mark.slow
@pytest.mark.jittor
def test_what_is_said_of_jittor_is_true(tmp_path):
    run_page("jittor-for-pytorch-users.md", tmp_path)


def test_the_models_that_ship_are_described():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in jd.MODELS)


def test_the_demo_is_shown():
    assert {"docs/images/demo-grid.png", "docs/images/demo.gif"} <= set(links(README))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_bold_text_is_bold_on_github(document):
    """Between 。 and a letter, CommonMark takes no ** for the end of bold text."""
    parser = MarkdownIt("commonmark").enable("table")
    for block in parser.parse(document.read_text(encoding="utf-8")):
        plain = [part.content for part in block.children or [] if part.type == "text"]
        assert not [text for text in plain if "**" in text], document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_nothing_is_left_to_fill_in(document):
    text = document.read_text(encoding="utf-8")
    assert re.findall(r"\b[A-Z]+_(?:FIGURES?|TABLE)\b|TODO|TBD", text) == []


def test_both_readmes_have_the_same_headings():
    levels = [re.findall(r"^#+(?= )", prose(text), re.MULTILINE) for text in (README, CHINESE)]
    assert levels[0] == levels[1]


def test_both_readmes_have_the_same_code():
    def without_comments(text):
        return [re.sub(r" *#.*", "", block) for block in code_blocks(text)]

    assert without_comments(README) == without_comments(CHINESE)
    assert len(code_blocks(README)) > 5


def test_both_readmes_have_the_same_numbers():
    def numbers(text):
        return Counter(re.findall(r"\d+(?:[.,]\d+)*", prose(text)))

    assert numbers(README) == numbers(CHINESE)


def test_both_readmes_name_the_same_things():
    def named(text):
        return Counter(re.findall(r"`([^`]+)`", prose(text)))

    assert named(README) == named(CHINESE)
    english = links(README.replace("README.zh.md", "README.md"))
    chinese = links(CHINESE.replace("docs/zh/", "docs/"))
    # Headings, and so anchors, are in the language of the page.
    paths = [Counter(link.partition("#")[0] for link in found) for found in (english, chinese)]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("line", re.findall(r"^\| `(ddim [a-z]+.*?)` \|", README, re.MULTILINE))
def test_every_command_named_exists(line, capsys):
    from jittor_ddim.cli.main import main

    words = line.split()[1:]
    command = words[:2] if words[0] in ("images", "data") else words[:1]
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    for flag in re.findall(r"--\w+", line):
        assert flag in text


def test_config_table_is_true():
    from jittor_ddim.architecture import count_parameters
    from jittor_ddim.config import config_names, load_config

    rows = dict(
        re.findall(r"^\| `(\w+\.yml)` \|.*\| ([\d,]+) \| [\d.]+ \|$", README, re.MULTILINE)
    )
    expected = {name: f"{count_parameters(load_config(name)):,}" for name in config_names()}
    assert rows == expected
