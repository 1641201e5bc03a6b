"""`ddim align` at the command line, as far as it needs no framework."""

import json

import pytest

from jittor_ddim.cli.main import main

pytestmark = pytest.mark.usefixtures("restored_process")


@pytest.fixture
def logs(tmp_path):
    """Two logs that part at step 2."""
    for name, losses in (("a", (3, 2, 1)), ("b", (3, 2, 1.1))):
        lines = [f"Step: {step}, Loss: {loss}" for step, loss in enumerate(losses)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    return [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]


def align(*arguments):
    return main(["align", *map(str, arguments)])


def test_logs_that_agree(logs, tmp_path, capsys):
    assert align("logs", *logs, "--tolerance", 0.2, "--out", tmp_path / "out") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["aligned"] and (tmp_path / "out" / "loss.svg").is_file()
    assert "Aligned: the losses agree" in (tmp_path / "out" / "summary.md").read_text()


def test_logs_that_part(logs, tmp_path, capsys):
    assert align("logs", *logs, "--exp", tmp_path, "--lang", "zh") == 3
    result = json.loads(capsys.readouterr().out)
    assert result["findings"][0]["where"] == "step 2"
    assert result["report"] == str(tmp_path / "alignments" / "a-b" / "report.html")
    assert align("logs", *logs, "--exp", tmp_path) == 3  # replaces its own


def test_options_that_are_for_the_other_use(logs, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    align("logs", *logs, "--steps", 3, *out)
    assert "--steps is ignored" in capsys.readouterr().err
    assert align(*logs, "--pattern", "x", "--precision", "int8", *out) == 2
    said = capsys.readouterr().err
    assert "--pattern is ignored" in said and "--precision int8: choose one of" in said
    assert align(*logs, "--accept", "gelu", *out) == 2
    assert "--accept gelu: no such cause; there are " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.py"], "give two sides"),
        (["one.py", "two.py", "three.py"], "give two sides"),
        (["logs", "one.txt"], "give two sides"),
        (["one.py", "two.py"], "one.py: no such file"),
        (["logs", "one.txt", "two.txt"], "one.txt: no such file"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert align(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_something_else(logs, tmp_path, capsys):
    assert align("logs", *logs, "--out", tmp_path) == 2
    assert "holds no alignment" in capsys.readouterr().err
