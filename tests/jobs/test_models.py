"""The models that ship: whole, small, described, and used wherever weights are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import yaml

import jittor_ddim as jd
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.cli import original
from jittor_ddim.cli.main import main, run
from jittor_ddim.errors import UserError
from jittor_ddim.models import load_model, model_config, read_card, weights_path
from jittor_ddim.network import NetworkChoice

FOLDER = Path(jd.models.__file__).parent
MOST_BYTES = 20_000_000


@pytest.fixture
def line(tmp_path):
    return ["--exp", str(tmp_path), "--model", "digits-class", "--verbose", "critical"]


def test_the_folder_is_the_list_and_stays_small():
    files = [path for path in FOLDER.iterdir() if path.suffix in (".safetensors", ".md")]
    assert {path.stem for path in files} == set(jd.MODELS)
    assert len(files) == 2 * len(jd.MODELS)
    assert "digits-class" in jd.MODELS
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.mark.parametrize("name", jd.MODELS)
def test_a_file_is_half_precision_and_is_read_as_float32(name):
    weights, config = jd.load_weights(weights_path(name)), model_config(name)
    assert {n: a.shape for n, a in weights.items()} == parameter_shapes(config)
    with safetensors.safe_open(weights_path(name), framework="numpy") as file:
        for key, array in weights.items():
            stored = file.get_tensor(key)
            assert (stored.dtype, array.dtype) == (np.float16, np.float32)
            assert np.array_equal(stored.astype(np.float32), array)


@pytest.mark.parametrize("name", jd.MODELS)
def test_a_card_says_what_the_file_is(name):
    card, config = read_card(name), model_config(name)
    assert card.parameters == sum(a.size for a in jd.load_weights(weights_path(name)).values())
    assert card.size == weights_path(name).stat().st_size
    assert (card.channels, card.resolution) == config.sample_shape[:2]
    assert len(card.classes) == (config.model.num_classes or 0)
    assert card.facts.sampling.sampler in jd.SAMPLERS
    assert config.data.root is None  # nobody else has the folder
    head = (FOLDER / f"{name}.md").read_text(encoding="utf-8").split("---\n")[1]
    assert yaml.safe_load(head)["fd_small"]["value"] == card.facts.fd_small.value
    assert len(card.text) > 200


def test_the_command_lists_them_and_shows_a_card(capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in jd.MODELS)
    assert main(["models", "--json"]) == 0
    trees = json.loads(capsys.readouterr().out)
    assert [tree["name"] for tree in trees] == list(jd.MODELS)
    assert main(["models", "digits-class"]) == 0
    shown = capsys.readouterr().out
    assert "CC BY 4.0" in shown and read_card("digits-class").text in shown
    assert main(["models", "digits-class", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["classes"] == list("0123456789") and tree["parameters"] == 652449


@pytest.mark.parametrize(
    "command",
    [["models", "digit-clas"], ["sample", "--grid", "--model", "digit-clas"],
     ["describe", "--model", "digit-clas"], ["compare", "--model", "digit-clas"],
     ["train", "--config", "digits.yml", "--doc", "a", "--init", "digit-clas"]],
)  # fmt: skip
def test_a_name_that_does_not_ship_is_answered_with_the_nearest(command, capsys, engine):
    assert main(command) == 2
    assert "digit-clas" in (said := capsys.readouterr().err)
    assert "did you mean digits-class?" in said
    assert engine.starts == 0


def test_a_name_like_none_lists_all(capsys):
    assert main(["models", "xyz"]) == 2
    assert f"there are {', '.join(jd.MODELS)}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "named"),
    [(["--doc", "d"], "--doc"), (["--pretrained", "w.pth"], "--pretrained"),
     (["--config", "digits.yml"], "--config"), (["--use_pretrained"], "--use_pretrained"),
     (["--weights", "raw"], "--weights")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["sample --grid", "gif", "reconstruct", "evaluate", "sweep"])
def test_another_choice_beside_it_is_refused_by_name(command, other, named, line, capsys, engine):
    assert main([*command.split(), *line, *other]) == 2
    said = capsys.readouterr().err
    assert "--model digits-class" in said and named in said.replace("--model", "")
    assert engine.starts == 0


def test_commands_use_it(engine, line, tmp_path, capsys):
    name = "digits-class"
    assert main(["sample", *line, "--grid", "--class", "7", "--timesteps", "2"]) == 0
    assert (tmp_path / "image_samples" / "grid" / "grid.png").exists()
    assert main(["gif", *line, "--timesteps", "2"]) == 0
    assert main(["reconstruct", *line, "--timesteps", "2", "--num_samples", "2"]) == 0
    few = ["--timesteps", "2", "--num_samples", "20", "--features", "small"]
    assert main(["evaluate", *line, *few, "--reference", "test"]) == 0
    assert next((tmp_path / "evaluations").glob(f"{name}-*.json"))
    assert main(["spacing", *line, "--calls", "2", "--num_samples", "4"]) == 0
    assert (tmp_path / "spacings" / f"{name}.json").exists()
    assert {path.suffix for path in FOLDER.iterdir()} <= {".py", ".md", ".safetensors", ""}
    capsys.readouterr()
    assert main(["describe", "--model", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 652449
    target = tmp_path / "out.safetensors"
    assert main(["convert", "--model", name, str(target)]) == 0
    assert np.array_equal(
        jd.load_weights(target)["conv_in.weight"],
        jd.load_weights(weights_path(name))["conv_in.weight"],
    )
    assert main(["convert", "--model", name, "a.pth", "b.pth"]) == 2
    assert main(["convert", "a.pth"]) == 2


def test_the_config_of_a_model_can_be_overridden_but_not_its_network(line, capsys, engine):
    quick = ["sample", *line, "--grid", "--timesteps", "2"]
    assert main([*quick, "--set", "sampling.batch_size=2"]) == 0
    capsys.readouterr()
    assert main([*quick, "--ni", "--set", "model.ch=64"]) == 2
    assert "model.ch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ("", "--timesteps 20 --sampler dpmpp_2m --spacing logsnr --guidance 0.25 "
             "--classes 0 1 2 3 4 5 6 7 8 9"),
        ("--eta 0", "--timesteps 100"),
        ("--timesteps 3", "--timesteps 3 --eta 0"),
        ("--class 3", "--class 3 --timesteps 100"),
    ],
)  # fmt: skip
def test_a_bare_grid_is_as_the_card_recommends(engine, line, tmp_path, capsys, options, same):
    """Unless anything says how to sample or what."""
    picture, calls = tmp_path / "image_samples" / "grid" / "grid.png", []
    pictures = []
    for given in (options, same):
        engine.calls.clear()
        assert main(["sample", *line, "--ni", "--grid", *given.split()]) == 0
        calls.append([*engine.calls])
        pictures.append(picture.read_bytes())
    assert calls[0] == calls[1] and pictures[0] == pictures[1]


def test_any_number_of_images_has_classes(engine, line, tmp_path):
    """Ten classes in turn, where sixteen images make no rows; an animation has rows."""
    assert main(["sample", *line, "--ni", "--grid", "--num_samples", "16"]) == 0
    assert {size for size, _ in engine.calls} == {32}  # with guidance each counts twice
    engine.calls.clear()
    assert main(["gif", *line, "--ni"]) == 0
    assert {size for size, _ in engine.calls} == {160}
    engine.calls.clear()
    assert main(["sample", *line, "--ni", "--fid", "--num_samples", "4"]) == 0
    assert len(engine.calls) == 100  # which is measured, and by which sampler is for one to say


def test_a_run_starts_from_it(engine, tmp_path):
    line = ["train", "--config", "digits.yml", "--doc", "a", "--exp", str(tmp_path), "--set",
            "model.num_classes=10", "--set", "training.n_iters=1", "--init"]  # fmt: skip
    assert main([*line, "digits-class", "--verbose", "critical"]) == 0
    after = jd.load_weights(tmp_path / "logs" / "a", ema=False)
    shipped = jd.load_weights(weights_path("digits-class"))
    assert np.array_equal(after["conv_in.weight"], shipped["conv_in.weight"])


def test_main_py_samples_from_it(engine, tmp_path, capsys):
    line = ["--exp", str(tmp_path), "--model", "digits-class", "--timesteps", "2"]
    assert run(original.app, [*line, "--sample", "--grid", "--ni"]) == 0
    assert run(original.app, ["--config", "digits.yml", *line]) == 2
    assert "--model: belongs to sampling" in capsys.readouterr().err


def test_python_loads_it_in_an_engine(engine, monkeypatch):
    monkeypatch.setattr("jittor_ddim.models.load_engine", lambda *choice: engine)
    unet, config = load_model("digits-class")
    assert config == model_config("digits-class")
    images = jd.sample(unet, config, jd.initial_noise(config, 1, range(2)), 2, labels=["3", 3])
    assert images.shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="no model of that name"):
        load_model("nothing")
    with pytest.raises(UserError, match="model must be a name"):
        load_model(3)


def test_the_choice_of_a_network_is_one():
    network = NetworkChoice(model="digits-class").find_network()
    assert network.source == weights_path("digits-class")
    with pytest.raises(UserError, match="leave out `doc` and `weights`"):
        NetworkChoice(model="digits-class", doc="a", weights="ema").find_network()


DIGITS_AS_ASKED_FOR = """
import numpy as np, jittor_ddim as jd
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.metrics.small import load_small

unet, config = jd.load_model("digits-class", {engine!r}, device="cpu")
sampling = jd.models.read_card("digits-class").facts.sampling
labels = np.arange(200) % 10
x_0 = jd.sample(
    unet, config, jd.initial_noise(config, 5, range(200)), sampling.timesteps,
    sampler=sampling.sampler, spacing=sampling.spacing, guidance=sampling.guidance, labels=labels,
)
classifier = load_small(8, 8)
pixels = np.repeat(to_uint8(from_network(x_0, config.data)), 3, axis=3)
_, logits = classifier.features(classifier.prepare(pixels))
odds = np.exp(logits - logits.max(axis=1, keepdims=True))
odds /= odds.sum(axis=1, keepdims=True)
print(((odds.argmax(axis=1) == labels) & (odds.max(axis=1) >= 0.9)).mean())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine_name",
    [pytest.param("jittor", marks=pytest.mark.jittor),
     pytest.param("pytorch", marks=pytest.mark.pytorch)],
)  # fmt: skip
def test_its_digits_are_those_asked_for(engine_name):
    code = DIGITS_AS_ASKED_FOR.format(engine=engine_name)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) >= 0.9
