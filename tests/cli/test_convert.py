import json

import numpy as np
import pytest
from checkpoints import hostile
from oracles import GOLDEN, golden

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.cli.main import main

OFFICIAL = GOLDEN / "official_ckpt_micro.pth"


@pytest.fixture
def convert(tmp_path, capsys, restored_process):
    """Run the command on paths below the test's own folder, and return (code, report, stderr)."""

    def run(source, target, *options):
        code = main(["convert", str(source), str(tmp_path / target), *map(str, options)])
        out, err = capsys.readouterr()
        assert code == 0 or out == ""
        return code, json.loads(out) if out else None, err

    return run


@pytest.fixture
def micro(tmp_path):
    path = tmp_path / "micro.yml"
    path.write_text(golden("ckpt_micro")["config"].to_yaml(), encoding="utf-8")
    return path


def test_an_official_checkpoint_becomes_a_run(convert, micro, tmp_path):
    code, report, err = convert(OFFICIAL, "logs/m", "--format", "native", "--config", micro)
    assert (code, err) == (0, "")
    assert report == {
        "source": str(OFFICIAL), "source_format": "official", "target": str(tmp_path / "logs/m"),
        "format": "native", "parameters": 176195, "config": "given", "holds": "checkpoint",
        "step": 5, "epoch": 0,
    }  # fmt: skip
    assert load_checkpoint(tmp_path / "logs/m").step == 5


def test_the_config_can_be_overridden_or_inferred(convert, micro, tmp_path):
    code, report, _ = convert(
        OFFICIAL, "a.safetensors", "--config", micro, "--set", "model.dropout=0.5", "--no-ema"
    )
    assert code == 0 and report["holds"] == "plain weights"
    code, report, err = convert(GOLDEN / "pesser_micro.ckpt", "b.safetensors")
    assert code == 0 and report["config"] == "inferred" and report["holds"] == "weights"
    assert "16x16" in err and "set --config if this is wrong" in err
    one, other = load_weights(OFFICIAL), load_weights(tmp_path / "b.safetensors")
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("x", [], "set --format to native"),
        ("x", ["--format", "onnx"], "--format onnx: choose one of native, official, diffusers"),
        ("x.pth", ["--format", "diffusers"], "choose another suffix"),
        (
            "x",
            ["--format", "diffusers", "--sampler", "ipndm"],
            "--sampler ipndm: diffusers has none",
        ),
        ("x", ["--format", "diffusers", "--spacing", "quad"], "choose one of uniform, trailing"),
        ("x", ["--format", "diffusers", "--order", "2"], "the order of the sampler ddim is fixed"),
        (
            "x",
            ["--format", "native", "--sampler", "heun"],
            "--sampler, --spacing and --order go into",
        ),
        ("x.pth", ["--set", "model.ch=32"], "--set needs --config"),
        ("micro.yml", ["--format", "native"], "already exists"),
        ("x", ["--format", "native"], "give --config"),
        ("x", ["--format", "native", "--ema"], "holds both"),
        ("x.pth", ["--config", "cifar10.yml"], "do not fit the network"),
        ("x.pth", ["--config", "nothing.yml"], "no such file"),
    ],
)
def test_wrong_requests_end_with_code_2(convert, micro, tmp_path, target, options, problem):
    before = sorted(tmp_path.iterdir())
    code, _, err = convert(OFFICIAL, target, *options)
    assert code == 2
    assert problem in err.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_a_pipeline_samples_as_asked_and_says_so(convert, micro, tmp_path):
    options = ["--sampler", "deis", "--spacing", "trailing", "--order", "2"]
    code, _, err = convert(OFFICIAL, "p", "--format", "diffusers", "--config", micro, *options)
    assert (code, err) == (0, "")
    written = json.loads((tmp_path / "p/scheduler/scheduler_config.json").read_text())
    assert written["_class_name"] == "DEISMultistepScheduler"
    assert (written["solver_order"], written["timestep_spacing"]) == (2, "trailing")
    code, _, err = convert(tmp_path / "p", "x.safetensors")
    assert code == 0
    assert "to sample as its scheduler does: --sampler deis, --spacing trailing, --order 2" in err


def test_code_is_refused_with_code_2(convert, tmp_path):
    sentinel = tmp_path / "sentinel"
    source = hostile.torch_zip(tmp_path / "m.pth", hostile.programs(sentinel)["os.system"])
    code, _, err = convert(source, "out.safetensors")
    assert code == 2
    assert "m.pth: refused: it would run 'posix.system'" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth"]


def test_damage_ends_with_code_2(convert, tmp_path):
    data = bytearray(OFFICIAL.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.pth").write_bytes(data)
    code, _, err = convert(tmp_path / "m.pth", "out.safetensors")
    assert code == 2
    assert "m.pth: damaged" in err and len(err.splitlines()) == 1
