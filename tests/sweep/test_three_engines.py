"""Three engines in one sweep: each but the first is compared with the first."""

import json
from types import SimpleNamespace

import pytest
from comparing import found_modules  # noqa: F401
from sweeping import ETA_0, NAMES, PLAN, prepare, run

from jittor_ddim.sweep import gather as gathering
from jittor_ddim.sweep.plan import Grid
from jittor_ddim.sweep.report import plots, table, write_report
from jittor_ddim.sweep.results import Row

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("found_modules")]

GRID = Grid((3,), (), (ETA_0,), NAMES)
ROW = Row(3, ETA_0)
TASKS = ["begin", "batch", "batch", "batch", "finish"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "ENGINES", NAMES)
    for module in (table, plots):
        monkeypatch.setattr(
            module, "describe_engine", lambda name: SimpleNamespace(title=name.title())
        )
    return prepare(tmp_path / "sweep")


def found(folder):
    return gathering.gather(PLAN, GRID, folder, "digits", "ddim sweep")


def test_every_engine_is_compared_with_the_first(folder):
    assert run(folder, grid=GRID) == [(side, task) for side in "ABC" for task in TASKS]
    sweep = found(folder)
    assert sweep.engines == list(NAMES)
    assert {pair.engine for pair in sweep.pairs} == {"pytorch", "third"}
    first = sweep.cell("jittor", ROW).distance
    for other in NAMES[1:]:
        expected = first - sweep.cell(other, ROW).distance
        assert sweep.pair(other, ROW).difference == pytest.approx(expected, abs=1e-6)
    assert not list(folder.rglob("*.npy"))


def test_its_report_tells_the_pairs_apart(folder):
    run(folder, grid=GRID)
    sweep = found(folder)
    files = {path.name: path for path in write_report(sweep, folder)}
    text = files["sweep.md"].read_text()
    for other in ("Pytorch", "Third"):
        assert f"| FD-small difference Jittor minus {other} ± s.e. |" in text
    assert "the difference is Jittor minus Pytorch and Jittor minus Third, paired" in text
    lines = [line.split(",") for line in files["sweep.csv"].read_text().splitlines()]
    column = lines[0].index("paired_difference")
    assert lines[1][2] == "jittor" and lines[1][column] == ""  # it has one with each other engine
    for line in lines[2:]:
        assert float(line[column]) == sweep.pair(line[2], ROW).difference


def test_an_engine_that_fails_does_not_keep_the_others_from_being_compared(folder):
    run(folder, ("third", "batch", 1), "raise ValueError('oops')", grid=GRID)
    assert [pair.engine for pair in found(folder).pairs] == ["pytorch"]
    assert list(found(folder).failures) == ["third"]
    assert {path.parent.name for path in folder.rglob("*.npy")} == {"jittor", "pytorch"}
    assert {side for side, _ in run(folder, grid=GRID)} == {"C"}
    assert [pair.engine for pair in found(folder).pairs] == ["pytorch", "third"]
    assert not list(folder.rglob("*.npy"))


def test_pairs_of_earlier_versions_are_of_the_second_engine(folder):
    run(folder, grid=Grid((3,), (), (ETA_0,), NAMES[:2]))
    (path,) = folder.rglob("pair_*.json")
    assert path.parent.name == "pytorch"
    stored = json.loads(path.read_bytes())
    del stored["engine"]
    (folder / path.name).write_text(json.dumps(stored))
    path.unlink()
    (pair,) = found(folder).pairs
    assert pair.engine == "pytorch" and pair.difference == stored["difference"]
    assert run(folder, grid=Grid((3,), (), (ETA_0,), NAMES[:2])) == []
    assert list(folder.rglob("pair_*.json")) == [folder / path.name]
