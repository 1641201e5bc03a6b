"""``ddim sweep`` on the command line: what is refused, what is printed, how it ends."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from comparing import CONFIG, found_modules  # noqa: F401
from killing import ENVIRONMENT
from starting import needs
from sweeping import command

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.cli.main import main
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.jobs import sweep as job
from jittor_ddim.sweep import fill
from jittor_ddim.sweep.results import Sweep

TINY = (
    "--pretrained w.safetensors --timesteps 3 5 --time_only 8 --eta 0 ddpm_noisy "
    "--num_samples 20 --batch_size 8 --features small --seed 7 --device cpu"
)


@pytest.fixture(autouse=True)
def stage(tmp_path, monkeypatch, restored_process):
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "w.safetensors", fresh_weights(CONFIG, 7), CONFIG)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    monkeypatch.setattr(job, "check_engine", lambda name: None)


def with_fakes(monkeypatch, tmp_path, *harm):
    monkeypatch.setattr(job, "COMMAND", command(tmp_path / "record", *harm))


def tasks(tmp_path):
    record = tmp_path / "record"
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    return lines


def everything(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def ddim(line):
    return main(["sweep", *line.split()])


BAD = {
    "": "exp/logs: no run here",
    "--config nowhere.yml": "nowhere.yml: no such file",
    f"{TINY} --engine both,jittor": "both,jittor: choose one of all, both, jittor, pytorch",
    f"{TINY} --timesteps 0": "timesteps must be in 1 … 1000, got 0",
    f"{TINY} --time_only 1001": "timesteps must be in 1 … 1000, got 1001",
    f"{TINY} --timesteps x": "--timesteps",
    f"{TINY} --eta half": "--eta half: write a number, or a sampler: ddpm_noisy",
    f"{TINY} --samplers ipndm:x": "ipndm:x: write SAMPLER or SAMPLER:ORDER",
    f"{TINY} --eta ipndm:6": "order 6: the order of the sampler ipndm is one of 1, 2, 3, 4",
    f"{TINY} --samplers ipndm:5": "order 5: the order of the sampler ipndm is one of 1, 2, 3, 4",
    f"{TINY} --samplers plms:2": "order 2: the order of the sampler plms is fixed; leave it out",
    f"{TINY} --eta=-1": "eta must be a number >= 0, got -1.0",
    f"{TINY} --eta nan": "eta must be a number >= 0, got nan",
    f"{TINY} --skip_type cubic": "spacing must be one of uniform, quad",
    f"{TINY} --num_samples 19": "a paired difference needs at least 20 images",
    f"{TINY} --num_samples 1 --engine jittor": "a covariance needs at least 2 images",
    f"{TINY} --batch_size 0": "--batch_size",
    f"{TINY} --device tpu": "--device tpu: choose one of auto, cpu",
    f"{TINY} --precision int8": "--precision int8: choose one of",
    f"{TINY} --engine jittor --compile": "--compile: Jittor compiles by itself",
    f"{TINY} --verbose loud": "--verbose loud: unknown level",
    f"{TINY} --features large": "--features large: choose one of inception, small",
    f"{TINY} --mode soft": "--mode soft: choose one of",
    f"{TINY} --reference nowhere": "--reference nowhere: no such file or folder",
    f"{TINY} --out thesis": "thesis: is not empty and holds no sweep",
    f"{TINY} --out thesis/thesis.txt": "thesis.txt: ",
    f"{TINY} --pretrained nowhere.pth": "nowhere.pth: no such file",
}


@pytest.mark.parametrize("line", BAD)
def test_wrong_input_ends_with_code_2_and_changes_nothing(line, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "fill", None)
    before = everything(tmp_path)
    assert ddim(line) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("INFO - ")]
    assert out == "" and "Traceback" not in err and len(lines) <= 2
    assert BAD[line] in lines[-1]
    assert everything(tmp_path) == before


def test_a_framework_that_is_missing(tmp_path, capsys, monkeypatch):
    """Asked for, torch must be there; not asked for, half a table is filled."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    def find(name, real=importlib.util.find_spec):
        return None if name == "torch" else real("json")

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert ddim(f"{TINY} --engine both") == 2
    assert "pip install 'jittor-ddim[pytorch]'" in capsys.readouterr().err
    grids = []
    monkeypatch.setattr(job, "fill", lambda plan, grid, *rest: grids.append(grid))
    assert ddim(TINY) == 0
    assert grids[0].engines == ("jittor",)
    assert "PyTorch is not installed: its part of the table is left out" in capsys.readouterr().err


def test_the_defaults(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(job, "fill", lambda *given: calls.append(given))
    assert ddim("--pretrained w.safetensors --features small") == 0
    plan, grid, folder, line, _ = calls[0]
    assert str(folder) == "exp/sweeps/w" and line[-3:] == [str(folder), "exp", ""]
    assert (grid.timesteps, grid.time_only) == ((10, 20, 50, 100), ())
    assert [variant.stored for variant in grid.variants] == [0.0, 0.5, 1.0]
    assert grid.engines == ("jittor", "pytorch")
    assert (plan.images, plan.batch_size, plan.seed) == (50000, 64, 1234)
    assert (plan.skip, plan.reference, plan.mode, plan.device) == (
        "uniform", "both", "clean", "auto",
    )  # fmt: skip
    assert ddim("--pretrained w.safetensors --features small --time_only 500 --out o") == 0
    assert calls[1][1].timesteps == () and calls[1][1].time_only == (500,)
    assert ddim("--pretrained w.safetensors --features small --weights raw") == 0
    assert str(calls[2][2]) == "exp/sweeps/w-raw"  # beside that of the average
    assert ddim("--pretrained w.safetensors --features small --weights ema") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("found_modules")
def test_the_table(tmp_path, capsys, monkeypatch):
    with_fakes(monkeypatch, tmp_path)
    assert ddim(TINY) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == "exp/sweeps/w" and result["failures"] == {}
    assert result["distance_name"] == "FD-small"
    assert len(result["cells"]) == 12 and len(result["pairs"]) == 4
    folder = tmp_path / "exp" / "sweeps" / "w"
    assert result["files"] == [
        f"exp/sweeps/w/{name}"
        for name in ("sweep.md", "sweep.csv", "sweep.json", "distance_by_steps.png",
                     "distance_by_seconds.png")
    ]  # fmt: skip
    stored = Sweep.model_validate_json((folder / "sweep.json").read_bytes())
    assert stored.title == "w" and stored.command.startswith("ddim ")
    assert [cell.distance for cell in stored.cells] == [c["distance"] for c in result["cells"]]
    assert len(tasks(tmp_path)) == 2 * (4 * 5 + 2 * 3)

    assert ddim(TINY) == 0  # everything is there
    assert json.loads(capsys.readouterr().out) == result and tasks(tmp_path) == []

    assert ddim(f"{TINY} --eta 1 --engine jittor") == 0  # another column, of one engine
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 15
    assert len(tasks(tmp_path)) == 2 * 5 + 3

    before = everything(folder)
    for change, named in {
        "--num_samples 30": "images 20 instead of 30",
        "--seed 8": "seed 7 instead of 8",
        "--skip_type quad": "skip uniform instead of quad",
        "--reference test": "reference both instead of test",
        "--batch_size 4": "batch_size 8 instead of 4",
    }.items():
        assert ddim(f"{TINY} {change}") == 2
        assert f"holds another sweep ({named}); choose another --out" in capsys.readouterr().err
    assert everything(folder) == before and tasks(tmp_path) == []


@pytest.mark.slow
@pytest.mark.usefixtures("found_modules")
def test_an_engine_that_fails_is_exit_code_1_with_a_report(tmp_path, capsys, monkeypatch):
    with_fakes(monkeypatch, tmp_path, ("pytorch", "batch", 4), "raise ValueError('oops')")
    assert ddim(TINY) == 1
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["failures"] == {"pytorch": "batch: ValueError: oops"}
    assert len(result["cells"]) == 7 and len(result["pairs"]) == 1
    assert "pytorch failed in batch: ValueError: oops" in err and "Traceback" not in err
    text = (tmp_path / "exp" / "sweeps" / "w" / "sweep.md").read_text()
    assert "**PyTorch has failed**, so cells are missing: batch: ValueError: oops" in text
    with_fakes(monkeypatch, tmp_path)
    assert ddim(TINY) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["failures"], len(result["cells"]), len(result["pairs"])) == ({}, 12, 4)


@pytest.mark.slow
@pytest.mark.usefixtures("found_modules")
def test_killed_before_the_last_pair(tmp_path, capsys, monkeypatch):
    with_fakes(monkeypatch, tmp_path)
    line = TINY.replace("--timesteps 3 5 --time_only 8", "--timesteps 3")
    with monkeypatch.context() as patch:
        patch.setattr(fill, "_pair", lambda *given: None)
        assert ddim(line) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == []
    tasks(tmp_path)
    assert ddim(line) == 0
    assert len(json.loads(capsys.readouterr().out)["pairs"]) == 2 and tasks(tmp_path) == []


PROGRAM = """
import json, sys
from jittor_ddim.jobs import sweep
from jittor_ddim.cli.main import main
sweep.COMMAND = json.loads(sys.argv[1])
sweep.check_engine = lambda name: None
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("found_modules")
def test_killed_at_any_moment_it_goes_on_to_the_same_table(tmp_path, capsys, monkeypatch):
    """The whole command by kill -9, in the middle of cells and between them."""
    with_fakes(monkeypatch, tmp_path)
    assert ddim(f"{TINY} --out whole") == 0
    whole = json.loads(capsys.readouterr().out)
    tasks(tmp_path)
    for count in (2, 7, 4, 9):
        record = tmp_path / "record"
        record.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(command(record)), "sweep", *TINY.split()],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            while not record.exists() or len(record.read_text().splitlines()) < count:
                assert process.poll() is None
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(1)  # its workers end their last task and then themselves
    assert ddim(TINY) == 0
    result = json.loads(capsys.readouterr().out)

    def numbers(result):
        return [
            {key: value for key, value in cell.items() if key != "seconds_per_image"}
            for cell in result["cells"]
        ]

    assert numbers(result) == numbers(whole) and result["pairs"] == whole["pairs"]


@pytest.mark.slow
@pytest.mark.jittor
def test_both_engines(tmp_path):
    """The command itself, and each engine in a clean process."""
    needs("jittor", "pytorch")
    program = "import sys; from jittor_ddim.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", program, "sweep", *TINY.split()]
    # The shell stands between: Jittor in this process would take a child's death for its own.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *line],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=550, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stored = Sweep.model_validate_json((tmp_path / "exp/sweeps/w/sweep.json").read_bytes())
    assert len(stored.cells) == 12 and stored.failures == {}
    for cell in stored.cells:
        assert cell.frameworks == {"jittor": ["jittor"], "pytorch": ["torch"]}[cell.engine]
        assert cell.seconds_per_image > 0
    for pair in stored.pairs:  # the same network on the same noise
        distance = stored.cell("jittor", pair.row).distance
        assert abs(pair.difference) < 1e-2 * distance
