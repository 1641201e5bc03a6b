"""Several values after one flag."""

import pytest
import typer

from jittor_ddim.cli.main import run
from jittor_ddim.cli.spreading import SpreadingCommand, spread


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("--eta 0 0.5 1", "--eta 0 --eta 0.5 --eta 1"),
        ("--eta 0 --eta 1 2", "--eta 0 --eta 1 --eta 2"),
        ("--eta=0 0.5 --s 1 2 --eta 3", "--eta=0 --eta 0.5 --s 1 --s 2 --eta 3"),
        ("--doc a --eta 0 1 --ni --eta 2", "--doc a --eta 0 --eta 1 --ni --eta 2"),
        ("--eta", "--eta"),
        ("--eta --s 1", "--eta --s 1"),
        ("--doc a b", "--doc a b"),  # one value is all that --doc takes: the parser says so
        ("--eta -1", "--eta -1"),
        ("--eta -1 5 -.5 -1e-3 -x", "--eta -1 --eta 5 --eta -.5 --eta -1e-3 -x"),
    ],
)
def test_spread(line, expected):
    assert spread(line.split(), {"--eta", "--s"}) == expected.split()


@pytest.mark.parametrize(
    ("line", "code"),
    [("--eta 0 1 2 --doc d", 0), ("--eta 0 --eta 1 --eta 2 --doc d", 0), ("--doc d e", 2)],
)
def test_a_command_takes_both_forms(line, code, capsys, restored_process):
    app = typer.Typer()
    seen = []

    @app.command(cls=SpreadingCommand)
    def command(eta: list[float] = typer.Option(), doc: str = typer.Option()) -> None:  # noqa: B008
        seen.append((eta, doc))

    assert run(app, line.split()) == code
    assert seen == ([] if code else [([0.0, 1.0, 2.0], "d")])
    assert "Traceback" not in capsys.readouterr().err
