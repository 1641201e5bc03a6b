import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.cli.describe import describe
from jittor_ddim.config import config_names, load_config
from jittor_ddim.errors import ConfigError, UserError

app = typer.Typer()
app.command()(describe)
runner = CliRunner()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def _run(*arguments: str) -> tuple[str, str]:
    result = runner.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_config_is_described_and_drawn(name: str) -> None:
    stdout, stderr = _run("--config", name)
    picture = Path(f"{Path(name).stem}-unet.png")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    assert stderr == f"The U-Net is drawn in {picture}\n"
    assert os.listdir() == [picture.name]
    words = {line.split()[0] for line in stdout.splitlines() if line.strip()}
    layers = {name.rpartition(".")[0] for name in parameter_shapes(load_config(name))}
    assert layers <= words  # nothing is cut off at 80 columns
    assert "…" not in stdout and max(len(line.rstrip()) for line in stdout.splitlines()) <= 80


def test_the_figures_of_cifar10() -> None:
    stdout, _ = _run("--config", "cifar10.yml")
    rows = {line.split()[0]: line.split() for line in stdout.splitlines() if line.strip()}
    assert rows["conv_in"] == ["conv_in", "conv3x3", "128×32×32", "3,584", "7.08"]
    assert rows["mid.attn_1"] == ["mid.attn_1", "attention", "256×4×4", "0.26"]
    assert rows["down.0.downsample.conv"][2:4] == ["128×16×16", "147,584"]
    assert "cifar10: 35,746,307 parameters, 12.4 GFLOP per image and network call" in stdout
    subtotals = [line.split() for line in stdout.splitlines() if line.startswith("all of")]
    assert [row[2] for row in subtotals] == [
        *("temb", "down.0", "down.1", "down.2", "down.3", "mid", "up.3", "up.2", "up.1", "up.0")
    ]
    ends = sum(int(rows[name][3].replace(",", "")) for name in ("conv_in", "norm_out", "conv_out"))
    assert sum(int(row[3].replace(",", "")) for row in subtotals) + ends == 35_746_307


def test_json_is_all_there_is_on_stdout_and_leaves_no_picture() -> None:
    stdout, stderr = _run("--config", "digits.yml", "--json")
    tree = json.loads(stdout)
    assert os.listdir() == [] and stderr == ""
    shapes = {k: tuple(v) for layer in tree["layers"] for k, v in layer["parameters"].items()}
    assert shapes == parameter_shapes(load_config("digits.yml"))
    for key in ("parameters", "flops"):
        assert tree[key] == sum(stage[key] for stage in tree["stages"])
    assert tree["flops"] == sum(layer["flops"] for layer in tree["layers"])
    assert tree["layers"][2]["in_shape"] == [1, 8, 8]


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_chooses_the_format(suffix: str, start: bytes) -> None:
    _run("--config", "digits.yml", "--json", "--out", f"deep/er/unet.{suffix}")
    first = Path(f"deep/er/unet.{suffix}").read_bytes()
    assert first.startswith(start)
    _run("--config", "digits.yml", "--out", f"deep/er/unet.{suffix}")  # replaced by the same
    assert Path(f"deep/er/unet.{suffix}").read_bytes() == first
    assert os.listdir() == ["deep"]


def test_a_picture_that_nobody_named_replaces_only_itself() -> None:
    _run("--config", "digits.yml")
    first = Path("digits-unet.png").read_bytes()
    _run("--config", "digits.yml")
    assert Path("digits-unet.png").read_bytes() == first
    Path("digits-unet.png").write_bytes(b"of another config of this name")
    result = runner.invoke(app, ["--config", "digits.yml"])
    assert isinstance(result.exception, UserError)
    assert "digits-unet.png: exists and is another picture" in str(result.exception)
    assert Path("digits-unet.png").read_bytes() == b"of another config of this name"


@pytest.mark.parametrize("out", ["unet.bmp", "unet", "folder.png"])
def test_a_wrong_picture_name_is_said_before_anything_is_done(out: str) -> None:
    Path("folder.png").mkdir()
    result = runner.invoke(app, ["--config", "digits.yml", "--out", out])
    assert isinstance(result.exception, UserError)
    assert out in str(result.exception) and "\n" not in str(result.exception)
    assert result.stdout == "" and os.listdir() == ["folder.png"]


def test_an_unknown_config_is_said() -> None:
    result = runner.invoke(app, ["--config", "cifar.yml"])
    assert isinstance(result.exception, ConfigError)
    assert "cifar10.yml" in str(result.exception)


def test_help_shows_an_example() -> None:
    assert "ddim describe --config cifar10.yml" in _run("--help")[0]
