"""Classes by their names: where they come from, and who takes them."""

import json

import numpy as np
import pytest
from fake_engine import TABLE

import jittor_ddim as jd
from jittor_ddim.checkpoints import read_weights, save_weights
from jittor_ddim.cli.main import main
from jittor_ddim.config import parse_config
from jittor_ddim.errors import ConfigError, UserError
from jittor_ddim.guidance import Classes, class_number
from jittor_ddim.image_files import save_image
from jittor_ddim.initialization import fresh_weights

NAMES = ("cat", "dog", "10")


def named(config, names=NAMES, count=3):
    tree = config.model_dump(mode="json", exclude_none=True)
    tree["data"]["class_names"] = names
    tree["model"]["num_classes"] = count
    return parse_config(tree, "here")


@pytest.fixture
def trained(engine, config, tmp_path):
    """Three classes, each of another brightness."""
    weights = fresh_weights(config := named(config))
    weights[TABLE] += np.float32(0.1) * np.arange(4, dtype=np.float32)[:, None]
    save_weights(tmp_path / "named.safetensors", weights, config)
    return tmp_path / "named.safetensors"


@pytest.mark.parametrize(
    ("label", "number"), [("cat", 0), ("dog", 1), ("10", 2), ("1", 1), (1, 1), (np.int64(2), 2)]
)
def test_a_name_comes_before_a_number(config, label, number):
    assert class_number(named(config), label) == number


@pytest.mark.parametrize(
    ("label", "hint"), [("cta", "did you mean cat?"), ("zebra", "there are cat, dog, 10")]
)
def test_a_name_that_is_none_is_answered_with_the_nearest(config, label, hint):
    with pytest.raises(UserError, match=f"class {label}: no class is called so; ") as raised:
        Classes((label,)).numbered(named(config))
    assert hint in str(raised.value)


def test_a_network_whose_classes_have_no_names_says_so(config):
    model = config.model.model_copy(update={"num_classes": 3})
    with pytest.raises(UserError, match="classes have no names"):
        class_number(config.model_copy(update={"model": model}), "cat")


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        (["a", "b"], 3, "has 2 names, but model.num_classes is 3"),
        (["a"], None, "model.num_classes is not set"),
        (["a", "a"], 2, "names that all differ"),
        (["a", ""], 2, "none of them empty"),
        ([1, 2], 2, "in quotes"),
        ("ab", 2, "takes a list of names"),
    ],
)
def test_names_that_cannot_be_are_refused(config, names, count, message):
    with pytest.raises(ConfigError, match=message):
        named(config, names, count)


def test_they_survive_yaml_and_a_file(config, trained):
    assert parse_config(named(config).model_dump(), "x").data.class_names == NAMES
    path = trained.with_name("config.yml")
    path.write_text(named(config).to_yaml())
    assert jd.load_config(path) == named(config)


def test_the_same_pictures_by_name_and_by_number(trained, tmp_path, capsys):
    line = ["sample", "--exp", str(tmp_path), "--pretrained", str(trained), "--timesteps", "2",
            "--num_samples", "4", "--verbose", "critical"]  # fmt: skip
    for option, folder in (("dog", "a"), ("1", "b"), ("cat", "c")):
        assert main([*line, "--fid", "--class", option, "-i", folder]) == 0
    pictures = [(tmp_path / "image_samples" / one / "3.png").read_bytes() for one in "abc"]
    assert pictures[0] == pictures[1] != pictures[2]
    recipe = json.loads((tmp_path / "image_samples" / "a" / "sampling.json").read_text())
    assert recipe["classes"] == [1]
    assert main([*line, "--grid", "--classes", "cat", "10"]) == 0
    capsys.readouterr()
    assert main([*line, "--grid", "--class", "dogg"]) == 2
    assert "did you mean dog?" in capsys.readouterr().err


def test_python_takes_names(engine, trained):
    config = read_weights(trained).config
    unet = engine.unet(config, jd.load_weights(trained))
    x_T = jd.initial_noise(config, 1, range(3))
    one, other = (
        jd.sample(unet, config, x_T, 2, labels=labels) for labels in (["10", "cat", 1], [2, 0, 1])
    )
    assert np.array_equal(one, other)
    with pytest.raises(UserError, match="did you mean cat"):
        jd.sample(unet, config, x_T, 2, labels=["cart"] * 3)
    with pytest.raises(UserError, match="labels must be"):
        jd.sample(unet, config, x_T, 2, labels="cat")


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(("ape", "bee")):
        for index in range(4):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, np.full((8, 8, 1), 50 * number + index, np.uint8))
    return ["train", "--config", "digits.yml", "--exp", str(tmp_path), "--doc", "a", "--set",
            "data.dataset=FOLDER", "--set", f"data.root={tmp_path / 'images'}", "--set",
            "model.num_classes=2", "--set", "training.n_iters=1", "--ni"]  # fmt: skip


def test_a_run_takes_them_from_its_folders(engine, folders, tmp_path, capsys):
    assert main(folders) == 0
    config = jd.load_config(tmp_path / "logs" / "a" / "config.yml")
    assert config.data.class_names == ("ape", "bee")
    state = json.loads((tmp_path / "logs" / "a" / "ckpt_1" / "state.json").read_text())
    assert state["config"]["data"]["class_names"] == ["ape", "bee"]
    grid = ["sample", "--exp", str(tmp_path), "--grid", "--timesteps", "2", "--ni"]
    assert main([*grid, "--class", "bee"]) == 0
    more = ["train", "--exp", str(tmp_path), "--doc", "a", "--resume_training", "--set",
            "training.n_iters=2"]  # fmt: skip
    capsys.readouterr()
    assert main(more) == 0
    assert "class_names" not in capsys.readouterr().err
    again = jd.load_config(tmp_path / "logs" / "a" / "config.yml")
    assert again.data.class_names == ("ape", "bee")


def test_names_that_the_folders_contradict_are_kept_with_a_warning(
    engine, folders, tmp_path, capsys
):
    assert main([*folders, "--set", "data.class_names=[bee, ape]"]) == 0
    config = jd.load_config(tmp_path / "logs" / "a" / "config.yml")
    assert config.data.class_names == ("bee", "ape")
    assert "bee, ape, but the images' classes are called ape, bee" in capsys.readouterr().err
