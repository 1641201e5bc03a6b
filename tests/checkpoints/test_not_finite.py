"""A weight that is not finite ends the reading of its file, by its name there."""

import dataclasses
import pickle

import numpy as np
import pytest
import safetensors.numpy
from oracles import GOLDEN, golden, inception_recipe_weights

from jittor_ddim.architecture import check_weights
from jittor_ddim.checkpoints import load_weights, save_weights
from jittor_ddim.checkpoints.diffusers_names import to_diffusers
from jittor_ddim.checkpoints.inception_weights import read_inception
from jittor_ddim.checkpoints.native import load_checkpoint, save_checkpoint
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError, UserError, WeightsError

OFFICIAL = GOLDEN / "official_ckpt_micro.pth"
CONFIG = golden("ckpt_micro")["config"]
GOOD = load_weights(OFFICIAL)
NAME = "mid.block_1.conv1.weight"


def spoilt(weights, name=NAME, value=np.nan):
    bad = {key: array.copy() for key, array in weights.items()}
    bad[name].flat[3] = value
    return bad


def write_pickle(path, weights):
    path.write_bytes(pickle.dumps(weights, 4))


FORMATS = {
    "x.safetensors": lambda path, weights: safetensors.numpy.save_file(weights, path),
    "x.pth": write_torch,
    "x.pkl": write_pickle,
    "wrapped.pth": lambda path, weights: write_torch(path, {"state_dict": weights, "epoch": 1}),
    "official.pth": lambda path, weights: write_torch(path, [GOOD, {}, 0, 5, weights]),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("file", FORMATS)
def test_every_format_is_looked_through(tmp_path, file, value):
    path = tmp_path / file
    FORMATS[file](path, spoilt(GOOD, value=value))
    size = GOOD[NAME].size
    with pytest.raises(WeightsError) as refusal:
        load_weights(path)
    assert str(refusal.value).startswith(
        f"{path}: {NAME} is not finite (1 of its {size} values, such as {value})"
    )
    assert "\n" not in str(refusal.value)


def test_the_name_is_that_in_the_file(tmp_path):
    theirs = "mid_block.resnets.0.conv1.weight"
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(spoilt(to_diffusers(GOOD), theirs), path)
    with pytest.raises(WeightsError, match=f"{theirs} is not finite"):
        load_weights(path)


def test_the_others_are_counted(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({name: array * np.nan for name, array in GOOD.items()}, path)
    others = len(GOOD) - 1
    with pytest.raises(WeightsError, match=f", as {others} more of {len(GOOD)} tensors; get"):
        load_weights(path)


@pytest.mark.filterwarnings("error")
def test_a_double_beyond_float32_is_not_finite_either(tmp_path):
    bad = spoilt({name: array.astype(np.float64) for name, array in GOOD.items()}, value=1e39)
    write_torch(tmp_path / "x.pth", bad)
    with pytest.raises(WeightsError, match=rf"{NAME} is not finite .* such as inf"):
        load_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("field", ["weights", "ema_weights", "optimizer"])
def test_a_checkpoint_of_ours_tells_where_to_go_on_from(tmp_path, field):
    good = read_contents(OFFICIAL).checkpoint(CONFIG)
    save_checkpoint(tmp_path, dataclasses.replace(good, step=4), keep_last=5)
    name = next(iter(getattr(good, field)))
    bad = dataclasses.replace(good, **{field: spoilt(getattr(good, field), name)})
    path = save_checkpoint(tmp_path, bad, keep_last=5)
    with pytest.raises(CheckpointError, match=f"{path}/.*{name} is not finite.*one is .*ckpt_4"):
        load_checkpoint(tmp_path)
    if field != "optimizer":
        with pytest.raises(CheckpointError, match=f"{path}/.*{name} is not finite"):
            load_weights(tmp_path, ema=field == "ema_weights")


def test_an_optimisers_state_is_looked_through(tmp_path):
    optimizer = {
        "state": {i: {"step": 5, "exp_avg": array, "exp_avg_sq": array * np.nan}
                  for i, array in enumerate(GOOD.values())},
        "param_groups": [{"params": list(range(len(GOOD)))}],
    }  # fmt: skip
    write_torch(tmp_path / "x.pth", [GOOD, optimizer, 0, 5])
    with pytest.raises(WeightsError, match=r"x\.pth: exp_avg_sq/.* is not finite"):
        load_weights(tmp_path / "x.pth")


def test_inceptions_weights_are_looked_through(tmp_path):
    name = "Mixed_6b.branch7x7_2.conv.weight"
    write_torch(tmp_path / "x.pth", spoilt(inception_recipe_weights(), name))
    with pytest.raises(UserError, match=rf"x\.pth: {name} is not finite"):
        read_inception(tmp_path / "x.pth")


def test_nothing_like_it_is_written_or_given_to_a_network(tmp_path):
    shapes = {name: array.shape for name, array in GOOD.items()}
    check_weights(GOOD, shapes)
    with pytest.raises(WeightsError, match=f"{NAME} is not finite"):
        check_weights(spoilt(GOOD), shapes)
    for target, format in (("x.safetensors", "native"), ("x.pth", "official"), ("x", "diffusers")):
        with pytest.raises(WeightsError, match=f"{NAME} is not finite"):
            save_weights(tmp_path / target, spoilt(GOOD), CONFIG, format)
    assert list(tmp_path.iterdir()) == []
