"""``ddim compare`` on the command line: what is refused, what is printed, how it ends."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest
from comparing import command, found_modules, make_run  # noqa: F401
from killing import ENVIRONMENT
from starting import needs

from jittor_ddim.cli.main import main
from jittor_ddim.compare import report, side_by_side
from jittor_ddim.compare.results import Comparison
from jittor_ddim.jobs import compare as job

TINY = (
    "--config digits.yml --steps 6 --timesteps 5 --num_samples 8 --timed_batch 2 --batch_size 4 "
    "--set model.ch=32 --set model.ch_mult=[1] --set model.num_res_blocks=1 "
    "--set model.attn_resolutions=[] --device cpu"
)


@pytest.fixture(autouse=True)
def stage(tmp_path, monkeypatch, restored_process):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "exp", "a")
    make_run(tmp_path / "exp", "b", 1.0)
    make_run(tmp_path / "exp", "empty", steps=0)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    monkeypatch.setattr(job, "check_engine", lambda name: None)


@pytest.fixture
def no_start(monkeypatch):
    def alarm(*arguments):
        raise AssertionError("an engine was started")

    monkeypatch.setattr(job, "measure", alarm)


def everything(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def ddim(line):
    return main(["compare", *line.split()])


RUNS = "exp/logs/a exp/logs/b"
BAD = {
    "": "--config is missing: give one to compare the engines",
    "exp/logs/a": "give two or more runs to compare, or --config",
    f"{RUNS} --config digits.yml": "give two or more runs to compare, or --config",
    f"{RUNS} --set model.ch=32": "give two or more runs to compare, or --config",
    f"{RUNS} --pretrained x.pth": "give two or more runs to compare, or --config",
    f"{RUNS} --lang fr": "--lang fr: choose one of en, zh",
    f"{RUNS} --out thesis": "thesis: is not empty and holds no comparison",
    f"{RUNS} --out thesis/thesis.txt": "thesis.txt: ",
    "exp/logs/a nowhere": "nowhere: no run here",
    "exp/logs/a exp/logs/empty": "exp/logs/empty: has no steps yet",
    "--config nowhere.yml": "nowhere.yml: no such file",
    "--config digits.yml --lang fr": "--lang fr: choose one of en, zh",
    "--config digits.yml --steps 1": "--steps",
    "--config digits.yml --steps x": "--steps",
    "--config digits.yml --batch_size 0": "--batch_size",
    "--config digits.yml --timed_batch 0": "--timed_batch",
    "--config digits.yml --num_samples 0": "--num_samples",
    "--config digits.yml --num_samples 257": "--num_samples",
    "--config digits.yml --timesteps 0": "timesteps must be in 1 … 1000, got 0",
    "--config digits.yml --timesteps 1001": "timesteps must be in 1 … 1000, got 1001",
    "--config digits.yml --device tpu": "--device tpu: choose one of auto, cpu",
    "--config digits.yml --precision int8": "--precision int8: choose one of",
    "--config digits.yml --verbose loud": "--verbose loud: unknown level",
    "--config digits.yml --pretrained nowhere.pth": "nowhere.pth: no such file",
    "--config digits.yml --out thesis": "thesis: is not empty and holds no comparison",
    "--config digits.yml --out thesis/thesis.txt": "thesis.txt: ",
    "--config folder.yml --set data.root=nowhere": "nowhere",
}


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("line", BAD)
def test_wrong_input_ends_with_code_2_and_changes_nothing(line, tmp_path, capsys):
    before = everything(tmp_path)
    assert ddim(line) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("INFO - ")]
    assert out == "" and "Traceback" not in err and len(lines) <= 2
    assert BAD[line] in lines[-1]
    assert everything(tmp_path) == before


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("torch", "pip install 'jittor-ddim[pytorch]'; the jittor engine works without it"),
        ("jittor", "Jittor is not installed: pip install jittor"),
    ],
)
def test_a_framework_that_is_missing(module, remedy, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    def find(name, real=importlib.util.find_spec):
        return None if name == module else real("json")

    monkeypatch.setattr(importlib.util, "find_spec", find)
    before = everything(tmp_path)
    assert ddim(TINY) == 2
    out, err = capsys.readouterr()
    assert out == "" and remedy in err and len(err.splitlines()) == 1
    assert everything(tmp_path) == before


def test_two_runs(tmp_path, capsys, monkeypatch):
    """With the real report."""
    assert ddim(RUNS) == 0
    result = json.loads(capsys.readouterr().out)
    folder = tmp_path / "exp" / "comparisons" / "a-b"
    assert result["report"] == "exp/comparisons/a-b/report.html"
    assert (result["aligned"], result["checks"], result["failures"]) == (None, {}, {})
    assert result["ratios"] == [
        {"kind": "train", "batch_size": 4, "value": 2.0, "low": 2.0, "high": 2.0, "side": 1}
    ]
    stored = Comparison.model_validate_json((folder / "results.json").read_bytes())
    assert stored.kind == "runs" and stored.title == "exp/logs/a / exp/logs/b"
    page = (folder / "report.html").read_text()
    assert "<html" in page and 'src="http' not in page
    assert ddim(RUNS) == 0  # a report may be brought up to date
    capsys.readouterr()
    assert ddim("exp/logs/b exp/logs/a --out exp/comparisons/a-b") == 2
    assert "holds a comparison of exp/logs/a / exp/logs/b" in capsys.readouterr().err
    # Other runs, which are called the same from where they are.
    out = str(folder.resolve())
    shutil.copytree("exp", "elsewhere/exp")
    monkeypatch.chdir("elsewhere")
    assert ddim(f"{RUNS} --out {out}") == 2
    assert "holds a comparison of exp/logs/a / exp/logs/b" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("found_modules")
def test_a_side_that_fails_is_exit_code_1_with_a_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "write_report", lambda c, s, folder, lang: folder / "report.html")
    harm = command(tmp_path / "record", ("pytorch", "train", 0), "raise ValueError('oops')")
    monkeypatch.setattr(job, "measure", lambda *given: side_by_side.measure(*given, command=harm))
    assert ddim(TINY) == 1
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["failures"] == {"PyTorch": "train: ValueError: oops"}
    assert set(result["checks"]) == {"weights", "outputs", "gradients"}
    assert result["aligned"] is None  # the losses and the samples of one side are missing
    assert "pytorch failed in train: ValueError: oops" in err and "Traceback" not in err
    folder = tmp_path / "exp" / "comparisons" / "digits"
    stored = Comparison.model_validate_json((folder / "results.json").read_bytes())
    assert len(stored.sides[0].costs) == 4 and stored.command.startswith("ddim ")
    whole = command(tmp_path / "record")
    monkeypatch.setattr(job, "measure", lambda *given: side_by_side.measure(*given, command=whole))
    assert ddim(TINY) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["failures"] == {} and len(result["checks"]) == 7 and result["aligned"]
    assert ddim(TINY.replace("--steps 6", "--steps 7")) == 2
    assert "holds another comparison (steps 6 instead of 7)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.jittor
def test_both_engines(tmp_path):
    """The command itself, and each engine in a clean process."""
    needs("jittor", "pytorch")

    def compare():
        program = "import sys; from jittor_ddim.cli import main; sys.exit(main())"
        line = [sys.executable, "-c", program, "compare", *TINY.split()]
        line += ["--exp", str(tmp_path / "new")]
        # The shell stands between: Jittor in this process would take a child's death for its own.
        return subprocess.run(
            ["sh", "-c", '"$@"; exit $?', "sh", *line],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )

    done = compare()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["aligned"] is True and result["failures"] == {}
    assert len(result["checks"]) == 7 and result["checks"]["weights"] == 0
    folder = tmp_path / "new" / "comparisons" / "digits"
    assert result["report"] == str(folder / "report.html")
    stored = Comparison.model_validate_json((folder / "results.json").read_bytes())
    assert [side.frameworks for side in stored.sides] == [["jittor"], ["torch"]]
    assert [side.engine for side in stored.sides] == ["jittor", "pytorch"]
    for side in stored.sides:
        assert side.training and len(side.training.step) == 6 and side.failure is None
        assert min(side.phases.values()) >= 0 and side.phases["forward"] > 0
        assert [(cost.kind, cost.batch_size) for cost in side.costs] == [
            ("train", 4), ("train", 2), ("sample", 2), ("sample", 4),
        ]  # fmt: skip
    assert [d.name for d in stored.alignment.outputs][-1] == "conv_out"
    assert stored.alignment.gradients[0].name == "conv_out.bias"
    assert len(stored.ratios) == 4
    assert (folder / "report.html").stat().st_size > 10_000
    measured = {
        path: path.stat().st_mtime_ns
        for name in ("jittor", "pytorch")
        for path in (folder / name).rglob("*")
    }
    again = compare()
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == result
    assert "Starting" not in again.stderr and "Continuing the comparison" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in measured} == measured
