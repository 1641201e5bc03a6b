"""What the README shows and names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_link_and_picture_leads_somewhere():
    targets = re.findall(r'(?:src="|\]\()([^")#]+)', README)
    local = [target for target in targets if "://" not in target]
    assert "docs/images/demo.gif" in local
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"\b[A-Z]+_(?:FIGURES?|TABLE)\b|TODO|TBD", README) == []


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
