"""The embedding of classes in files of every format."""

import json

import numpy as np
import pytest
from oracles import recipe_weights

from jittor_ddim.architecture import count_parameters, layers, parameter_shapes
from jittor_ddim.checkpoints import load_weights, read_weights, save_weights
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.config import load_config
from jittor_ddim.errors import CheckpointError, UserError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.jobs.convert import ConvertRequest, run_conversion
from jittor_ddim.network import NetworkChoice

TABLE = "class_embedding.weight"
PLAIN = load_config(
    "cifar10.yml",
    {
        "model.ch": 32,
        "model.num_res_blocks": 1,
        "model.num_groups": 8,
        "training.class_dropout": 0.1,
    },
)
CONFIG = PLAIN.model_copy(update={"model": PLAIN.model.model_copy(update={"num_classes": 10})})


@pytest.fixture(scope="module")
def weights():
    return recipe_weights(parameter_shapes(CONFIG))


def test_the_table_is_the_last_parameter_and_changes_no_other():
    plain, shapes = parameter_shapes(PLAIN), parameter_shapes(CONFIG)
    assert list(shapes) == [*plain, TABLE]
    assert shapes[TABLE] == (11, 128)
    assert count_parameters(CONFIG) == count_parameters(PLAIN) + 11 * 128
    assert [layer.name for layer in layers(CONFIG)][2] == "class_embedding"
    fresh, before = fresh_weights(CONFIG), fresh_weights(PLAIN)
    assert not fresh[TABLE].any()
    assert all(np.array_equal(fresh[name], before[name]) for name in before)


@pytest.mark.parametrize("format", ["native", "diffusers"])
def test_there_and_back(tmp_path, weights, format, caplog):
    path = tmp_path / ("w.safetensors" if format == "native" else "w")
    save_weights(path, weights, CONFIG, format)
    found, config = read_weights(path)[:2]
    assert config and config.model.num_classes == 10
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)
    assert ("last row" in caplog.text) == (format == "diffusers")
    plain = tmp_path / "plain"
    save_weights(plain, {n: weights[n] for n in parameter_shapes(PLAIN)}, PLAIN, "diffusers")
    assert json.loads((plain / "unet/config.json").read_text())["num_class_embeds"] is None


def test_shapes_alone_tell_the_classes(tmp_path, weights):
    write_torch(tmp_path / "w.pth", weights)
    network = NetworkChoice(pretrained=tmp_path / "w.pth").find_network()
    assert network.config.model.num_classes == 10
    other = dict(weights) | {TABLE: weights[TABLE] + 1}
    write_torch(tmp_path / "other.pth", other)
    again = NetworkChoice(pretrained=tmp_path / "other.pth").find_network()
    assert network.fingerprint() != again.fingerprint()


def test_the_official_format_has_none(tmp_path, weights):
    with pytest.raises(UserError, match="model.num_classes 10: the official code has no classes"):
        save_weights(tmp_path / "w.pth", weights, CONFIG, "official")
    save_weights(tmp_path / "w.safetensors", weights, CONFIG)
    with pytest.raises(UserError, match="give `format` native or diffusers"):
        run_conversion(ConvertRequest(tmp_path / "w.safetensors", tmp_path / "w.pth"))
    assert not (tmp_path / "w.pth").exists()


def test_another_number_of_classes_is_another_network(tmp_path, weights):
    save_weights(tmp_path / "w.safetensors", weights, CONFIG)
    with pytest.raises(CheckpointError, match="model.num_classes"):
        NetworkChoice(pretrained=tmp_path / "w.safetensors", config=PLAIN).find_network()
    assert TABLE in load_weights(tmp_path / "w.safetensors")
