"""Weights in several files and in variants, as diffusers' ``save_pretrained`` lays them out."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from oracles import GOLDEN
from trees import assert_same_tree

from jittor_ddim.checkpoints import load_weights, read_weights
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.errors import CheckpointError, WeightsError

PIPELINE = GOLDEN / "diffusers_tiny"
NAME = "diffusion_pytorch_model"
RAW = safetensors.numpy.load_file(PIPELINE / "unet" / f"{NAME}.safetensors")
RIGHT = load_weights(PIPELINE)
#: To be told from the right ones.
OTHER = {name: array + 1 for name, array in RAW.items()}


@pytest.fixture(params=["foldered", "flat", "unet alone"])
def unet(request, tmp_path):
    """A pipeline without weights; its U-Net's folder, and the path to give."""
    top = tmp_path / "pipeline"
    if request.param == "foldered":
        shutil.copytree(PIPELINE, top)
        folder = top / "unet"
    else:
        folder = top
        folder.mkdir()
        files = PIPELINE.rglob("*.json") if request.param == "flat" else [
            PIPELINE / "unet" / "config.json"
        ]  # fmt: skip
        for path in files:
            shutil.copy(path, folder)
    (folder / f"{NAME}.safetensors").unlink(missing_ok=True)
    return folder, top


def write(path, weights):
    if path.suffix == ".bin":
        write_torch(path, weights)
    else:
        safetensors.numpy.save_file(weights, path)


def write_shards(folder, weights, suffix=".safetensors", count=3, pattern=NAME, variant=""):
    """The files and their index; the index's path."""
    names = [f"{pattern}-{i + 1:05}-of-{count:05}{suffix}" for i in range(count)]
    parts = {file: dict(list(weights.items())[i::count]) for i, file in enumerate(names)}
    for file, part in parts.items():
        write(folder / file, part)
    places = {name: file for file, part in parts.items() for name in part}
    index = folder / f"{NAME}{suffix}.index{variant}.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("file", [
    "fp16.safetensors", "fp16.bin", "bf16.safetensors", "non_ema.safetensors", "non_ema.bin",
    "my-own.safetensors",
])  # fmt: skip
def test_a_variant_is_found(unet, file):
    folder, top = unet
    write(folder / f"{NAME}.{file}", RAW)
    weights, config = read_weights(top)[:2]
    assert config and config.data.image_size == 16
    assert_same_tree(weights, RIGHT)


def test_half_precision_is_float32_afterwards(unet):
    folder, top = unet
    half = {name: array.astype(np.float16) for name, array in RAW.items()}
    write(folder / f"{NAME}.fp16.safetensors", half)
    for name, array in load_weights(top).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, RIGHT[name].astype(np.float16))


@pytest.mark.parametrize("better, worse", [
    ("safetensors", "fp16.safetensors"), ("bin", "fp16.safetensors"), ("safetensors", "bin"),
    ("safetensors", "non_ema.safetensors"), ("fp16.safetensors", "non_ema.safetensors"),
    ("fp32.safetensors", "bf16.safetensors"), ("fp16.bin", "non_ema.safetensors"),
])  # fmt: skip
def test_of_several_variants_the_fullest_is_read(unet, better, worse):
    folder, top = unet
    write(folder / f"{NAME}.{worse}", OTHER)
    write(folder / f"{NAME}.{better}", RAW)
    assert_same_tree(load_weights(top), RIGHT)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize(
    "pattern, variant", [(NAME, ""), (f"{NAME}.fp16", ".fp16"), (NAME, ".fp16")]
)
def test_shards_are_put_together(unet, suffix, pattern, variant):
    folder, top = unet
    index = write_shards(folder, RAW, suffix, pattern=pattern, variant=variant)
    for path in (top, folder, index):
        weights, config = read_weights(path)[:2]
        assert config and config.data.image_size == 16
        assert_same_tree(weights, RIGHT)
    write_shards(folder, OTHER, suffix, 2, pattern=f"{NAME}.bf16", variant=".bf16")
    if not variant:
        assert_same_tree(load_weights(top), RIGHT)


def test_an_index_of_other_weights_is_given_by_its_path(tmp_path):
    official = load_weights(GOLDEN / "pesser_micro.ckpt")
    weights = {f"module.{name}": array for name, array in official.items()}
    index = write_shards(tmp_path, weights, pattern="model")
    found = load_weights(index)
    assert_same_tree({name: found[name] for name in official}, official)


def test_missing_shards_are_named(unet):
    folder, top = unet
    write_shards(folder, RAW)
    (folder / f"{NAME}-00002-of-00003.safetensors").unlink()
    named = rf"index\.json: 1 of its 3 files are missing \({NAME}-00002-of-00003\.safetensors\)"
    with pytest.raises(CheckpointError, match=named):
        load_weights(top)


def test_one_shard_alone_is_refused_as_such(unet):
    folder, top = unet
    write_shards(folder, RAW)
    with pytest.raises(
        CheckpointError, match=r"00001.*: only one of the 3 files .* \.index\.json"
    ):
        load_weights(folder / f"{NAME}-00001-of-00003.safetensors")
    write(folder / "one-00001-of-00001.safetensors", RAW)
    assert len(load_weights(folder / "one-00001-of-00001.safetensors")) == len(RAW)


def test_a_shard_without_what_the_index_says_is_named(unet):
    folder, top = unet
    write_shards(folder, RAW)
    part = folder / f"{NAME}-00003-of-00003.safetensors"
    tensors = safetensors.numpy.load_file(part)
    lost = next(iter(tensors))
    write(part, {name: array for name, array in tensors.items() if name != lost})
    with pytest.raises(CheckpointError, match=rf"{part.name}: lacks {lost}, which .*index\.json"):
        load_weights(top)
    part.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=rf"{part.name}: not a readable"):
        load_weights(top)


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", 7, None,
             "..\\secret.safetensors", "a\0b"],
)  # fmt: skip
def test_an_index_does_not_lead_out_of_its_folder(tmp_path, file):
    write(tmp_path / "secret.safetensors", RAW)
    folder = tmp_path / "pipeline"
    folder.mkdir()
    index = folder / f"{NAME}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(RAW, file)}))
    with pytest.raises(CheckpointError, match="refused: .* outside its own folder"):
        load_weights(index)


@pytest.mark.parametrize("text", [
    "{", "{}", '{"weight_map": {}}', '{"weight_map": [1]}', '{"a": ' * 5000, '{"architectures": 1}'
])  # fmt: skip
def test_other_json_is_refused(tmp_path, text):
    path = tmp_path / "x.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(
        CheckpointError, match=r"x\.safetensors\.index\.json: (damaged|not a weights file)"
    ):
        load_weights(path)


def test_an_index_may_not_name_an_index(tmp_path):
    index = write_shards(tmp_path, RAW)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(RAW, index.name)}))
    with pytest.raises(CheckpointError, match="format not recognised"):
        load_weights(index)


def test_a_pipeline_without_weights_says_what_is_looked_for(unet):
    folder, top = unet
    if not (folder / "model_index.json").exists() and folder == top:
        (folder / "model_index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=rf"no {NAME}\.safetensors or \.bin in it"):
        load_weights(top)


def test_the_average_of_diffusers_training_lies_beside(tmp_path):
    """``checkpoint-N/unet`` and ``unet_ema``, as its training script saves them."""
    top = tmp_path / "checkpoint-500"
    for part, weights in (("unet", OTHER), ("unet_ema", RAW)):
        shutil.copytree(PIPELINE / "unet", top / part)
        write(top / part / f"{NAME}.safetensors", weights)
    assert_same_tree(load_weights(top), RIGHT)
    plain = load_weights(top, ema=False)
    assert all(np.array_equal(plain[name], array + 1) for name, array in RIGHT.items())
    (top / "unet_ema" / f"{NAME}.safetensors").unlink()
    assert_same_tree(load_weights(top), plain)


def test_shards_that_are_another_network_are_refused(unet):
    folder, top = unet
    write_shards(folder, dict(list(RAW.items())[:-1]))
    with pytest.raises(WeightsError, match=r"index\.json: .* 1 missing"):
        load_weights(top)
