"""--use_pretrained: from a flag to images, with weights that are published on this machine."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from file_server import serving
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.pretrained import MODELS
from jittor_ddim.checkpoints.safetensors_files import to_safetensors
from jittor_ddim.cli import original
from jittor_ddim.cli.main import main, run
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.image_files import write_png

FILE = "ema_diffusion_cifar10_model/model-790000.ckpt"
SMALL = {
    "data.image_size": 8, "model.ch": 32, "model.ch_mult": [1], "model.num_res_blocks": 1,
    "model.attn_resolutions": [],
}  # fmt: skip
SET = " ".join(f"--set {key}={value}".replace(", ", ",") for key, value in SMALL.items())
CONFIG = jd.load_config("cifar10.yml", SMALL)
WEIGHTS = {n: np.full(s, 0.5, np.float32) for n, s in parameter_shapes(CONFIG).items()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror that has CIFAR-10's weights, without a config, and no other source of them."""
    content = to_safetensors(WEIGHTS)
    model = replace(MODELS["CIFAR10", None], md5=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(MODELS, ("CIFAR10", None), model)
    monkeypatch.delenv("JITTOR_DDIM_PRETRAINED", raising=False)
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        monkeypatch.setenv("JITTOR_DDIM_MIRROR", server.url)
        server.files[FILE] = content
        yield server


@pytest.fixture
def ddim(engine, server, place, restored_process):
    return lambda line: main(line.split())


def last_error(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


def test_the_official_command_samples_without_a_run(engine, server, ddim, place, capsys):
    line = f"--config cifar10.yml --exp exp --use_pretrained --sample --fid --timesteps 100 \
--eta 0 --ni --num_samples 3 {SET}"
    assert run(original.app, line.split()) == 0, capsys.readouterr().err
    x_T = jd.initial_noise(CONFIG, 1234, range(3))
    x_0 = jd.sample(engine.unet(CONFIG, WEIGHTS), CONFIG, x_T, 100, 0.0, seed=1234)
    made = [np.asarray(Image.open(f"exp/image_samples/images/{i}.png")) for i in range(3)]
    assert np.array_equal(np.stack(made), to_uint8(from_network(x_0, CONFIG.data)))
    assert not (place / "exp" / "logs").exists()
    err = capsys.readouterr().err
    assert f"Downloading {server.url}/{FILE}" in err and "Traceback" not in err
    assert f"cache/pretrained/{FILE}" in err


def test_all_commands_use_one_download(ddim, server, place, capsys):
    write_png(place / "photos", 0, np.zeros((8, 8, 3), np.uint8))
    options = f"--config cifar10.yml --use_pretrained --ni {SET} --timesteps 2"
    for command in ("sample --grid", "gif", "reconstruct photos"):
        assert ddim(f"{command} {options}") == 0, capsys.readouterr().err
    assert [path for path, _, _ in server.requests] == [FILE]


def test_a_run_of_the_name_is_not_used_and_that_is_said(ddim, capsys):
    """The official code demands --doc even with --use_pretrained."""
    line = f"sample --grid --config cifar10.yml --use_pretrained --timesteps 2 {SET} --doc c10"
    assert ddim(line) == 0
    assert "--doc c10 is ignored" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line, message",
    [
        ("--use_pretrained", "--use_pretrained needs --config"),
        ("--use_pretrained --set model.ch=32", "needs --config"),
        ("--use_pretrained --config cifar10.yml --pretrained x", "--pretrained x: leave out one"),
        ("--use_pretrained --config digits.yml", "no weights are published for DIGITS, only"),
    ],
)
@pytest.mark.parametrize("command", ["sample --grid", "gif", "reconstruct"])
def test_what_is_wrong_is_said_before_anything_is_downloaded(
    ddim, engine, server, place, capsys, command, line, message
):
    assert ddim(f"{command} {line}") == 2
    assert message in last_error(capsys)
    assert engine.starts == 0 and server.requests == [] and list(place.iterdir()) == []


def test_weights_that_do_not_fit_the_config(ddim, engine, capsys):
    assert ddim("sample --grid --config cifar10.yml --use_pretrained") == 2
    assert f"{FILE}: " in last_error(capsys)
    assert engine.starts == 0


def test_without_a_network_there_is_one_line(ddim, engine, place, capsys, monkeypatch):
    monkeypatch.setenv("JITTOR_DDIM_MIRROR", "http://127.0.0.1:1")
    assert (
        ddim(f"sample --grid --config cifar10.yml --use_pretrained --verbose warning {SET}") == 2
    )
    out, err = capsys.readouterr()
    assert err.startswith("error: ema_cifar10 cannot be downloaded: http://127.0.0.1:1/")
    assert err.count("\n") == 1 and out == ""
    assert engine.starts == 0 and list(place.iterdir()) == []
