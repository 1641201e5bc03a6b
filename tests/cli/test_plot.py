import json

import pytest
import typer
from typer.testing import CliRunner

from jittor_ddim.cli.plot import plot
from jittor_ddim.errors import UserError

RECORD = {"step": 1, "loss": 3.0, "loss_per_element": 1.0, "step_time_s": 0.1}


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(plot)
    return app


@pytest.mark.parametrize("out", [None, "figures"])
def test_the_files_are_printed_as_json(app, tmp_path, out):
    run = tmp_path / "c10"
    run.mkdir()
    (run / "metrics.jsonl").write_text(json.dumps(RECORD) + "\n")
    folder = tmp_path / out if out else run / "plots"
    options = ["--out", str(folder)] if out else []
    result = CliRunner().invoke(app, [str(run), *options], catch_exceptions=False)
    files = json.loads(result.stdout)["files"]
    assert result.exit_code == 0
    assert sorted(files) == sorted(str(path) for path in folder.iterdir())
    assert len(files) == 5


def test_figures_of_another_run_are_not_replaced(app, tmp_path):
    runs = [tmp_path / exp / "c10" for exp in ("a", "b")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text(json.dumps(RECORD) + "\n")
    options = ["--out", str(tmp_path / "figures")]
    for _ in range(2):  # its own are drawn anew
        CliRunner().invoke(app, [str(runs[0]), *options], catch_exceptions=False)
    before = (tmp_path / "figures" / "loss.png").read_bytes()
    result = CliRunner().invoke(app, [str(runs[1]), *options])
    assert isinstance(result.exception, UserError)
    assert "loss.png: exists and shows something else; choose another `out`" in str(
        result.exception
    )
    assert (tmp_path / "figures" / "loss.png").read_bytes() == before


def test_the_run_may_be_the_folder_one_stands_in(app, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(RECORD) + "\n")
    CliRunner().invoke(app, [str(tmp_path / "b")], catch_exceptions=False)
    monkeypatch.chdir(tmp_path / "a")
    result = CliRunner().invoke(app, [".", "--out", "../b/plots"])
    assert isinstance(result.exception, UserError)


def test_a_folder_that_is_no_run(app, tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "metrics.jsonl" in str(result.exception)


def test_help_shows_an_example(app):
    assert "ddim plot exp/logs/c10" in CliRunner().invoke(app, ["--help"]).stdout
