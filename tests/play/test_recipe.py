"""The command and the Python lines of a page give the images of the page."""

import base64
import io
import json
import shlex

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from playing import CONFIG, weights

import jittor_ddim
from jittor_ddim.checkpoints import save_weights
from jittor_ddim.cli import options, play
from jittor_ddim.cli.main import main
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.engines import choice as engine_choice
from jittor_ddim.figures.grids import grid
from jittor_ddim.play import recipe
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.walks import walk

ASKS = {
    "plain": {"eta": 0.0},
    "random": {"eta": 1 / 3, "class": 3, "guidance": 1.5, "seed": 7},
    "in turn": {"class": "all", "num_samples": 12, "sampler": "dpmpp_2m", "spacing": "logsnr"},
    "arc": {"kind": "arc", "other_seed": 5, "class": 2},
    "there and back": {"kind": "reconstruct", "sampler": "dpmpp_2m", "spacing": "logsnr"},
    "redrawn": {"kind": "edit", "strength": 0.4, "eta": 0.5, "class": 3, "guidance": 1.5},
}


_RAMP = io.BytesIO()
Image.fromarray(np.arange(0, 256, 4, np.uint8).reshape(8, 8)).save(_RAMP, "png")
PICTURE = base64.b64encode(_RAMP.getvalue()).decode()


@pytest.fixture
def words(tmp_path, monkeypatch):
    (tmp_path / recipe.PICTURE).write_bytes(_RAMP.getvalue())
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "net work.safetensors", weights(), CONFIG)
    network = options.NetworkOptions(exp=tmp_path, pretrained=tmp_path / "net work.safetensors")
    monkeypatch.setattr(engine_choice, "load_engine", lambda *_: FakeEngine())
    monkeypatch.setattr(jittor_ddim, "load_engine", lambda *_, **__: FakeEngine())
    engine = options.EngineOptions("jittor", "cpu")
    return recipe.NetworkWords(
        play._command(network, engine), ", ".join(play._arguments(network, None))
    )


def shown(ask):
    *_, last = walk(FakeEngine().unet(CONFIG, weights()), CONFIG, ask)
    return to_uint8(from_network(last.x_t, CONFIG.data))


def asked(name):
    found = {
        "engine": "jittor",
        "timesteps": 6,
        "num_samples": 4,
        "picture": PICTURE,
        **ASKS[name],
    }
    ask = Ask.read(found)
    ask.check(CONFIG)
    return ask


@pytest.mark.parametrize("name", ["plain", "random", "in turn"])
def test_the_command_makes_them(words, name, tmp_path, restored_process):
    ask = asked(name)
    line = words.command(ask, CONFIG)
    assert line
    program, *arguments = shlex.split(line)
    assert program == "ddim"
    assert main([*arguments, "--ni"]) == 0
    made = tmp_path / "image_samples"
    if name == "in turn":
        found = [np.asarray(Image.open(made / "images" / f"{i}.png")) for i in range(12)]
        np.testing.assert_array_equal(np.stack(found)[..., None], shown(ask))
    else:
        found = np.asarray(Image.open(made / "grid" / "grid.png"))
        np.testing.assert_array_equal(found[..., None], grid(shown(ask)))


def test_the_command_encodes_and_decodes_the_same(words, tmp_path, restored_process, capsys):
    ask = asked("there and back")
    line = words.command(ask, CONFIG)
    assert line and line.startswith(f"ddim reconstruct {recipe.PICTURE} ")
    assert main([*shlex.split(line)[1:], "--ni"]) == 0
    report = json.loads(capsys.readouterr().out)
    *_, last = walk(FakeEngine().unet(CONFIG, weights()), CONFIG, ask)
    assert report["errors"][0]["mse"] == pytest.approx(last.remark["mse"], rel=1e-6)
    found = np.asarray(Image.open(report["picture"]))
    original = ask.pixels(CONFIG)
    both = np.concatenate([original, to_uint8(from_network(last.x_t, CONFIG.data))])
    np.testing.assert_array_equal(found[..., None], grid(both, columns=1))


@pytest.mark.parametrize("name", ASKS)
def test_the_python_lines_make_them(words, name):
    ask, names = asked(name), {}
    lines = recipe.python(ask, CONFIG, words, "cpu")
    assert lines
    exec(lines, names)
    found = to_uint8(from_network(names["images"], CONFIG.data))
    np.testing.assert_array_equal(found, shown(ask))


@pytest.mark.parametrize("name", ["arc", "redrawn"])
def test_what_no_command_does_has_none(words, name):
    assert words.command(asked(name), CONFIG) is None


def test_the_network_is_asked_for_as_it_was(tmp_path):
    given = options.NetworkOptions(
        config="cifar10.yml", assignments=["model.ch=64", "data.rescaled=true"], weights="raw",
        use_pretrained=True,
    )  # fmt: skip
    assert list(play._flags(given)) == [
        "--config", "cifar10.yml", "--set", "model.ch=64", "--set", "data.rescaled=true",
        "--use_pretrained", "--weights", "raw",
    ]  # fmt: skip
    config = given.choice()["config"]
    found = list(play._arguments(given, config))
    assert found[:2] == ["use_pretrained=True", "weights='raw'"]
    assert eval(found[2].removeprefix("config="), {"jd": jittor_ddim}) == config
    named = options.NetworkOptions(exp=tmp_path, config="cifar10.yml")
    assert list(play._arguments(named, named.choice()["config"])) == [
        f"exp=Path({str(tmp_path)!r})", "config=jd.load_config('cifar10.yml')",
    ]  # fmt: skip
