"""Pipelines of diffusers: names, configs, layouts. diffusers itself saved the golden one."""

import json
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy
from oracles import GOLDEN, recipe_weights
from trees import assert_same_tree

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints import load_weights, read_weights, save_weights
from jittor_ddim.checkpoints.diffusers_names import diffusers_names, official_names
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.config import config_names, load_config
from jittor_ddim.errors import CheckpointError, UserError, WeightsError

PIPELINE = GOLDEN / "diffusers_tiny"
FILE = PIPELINE / "unet" / "diffusion_pytorch_model.safetensors"
RAW = safetensors.numpy.load_file(FILE)
#: The names of attention before diffusers 0.15.
OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture
def pipeline(tmp_path):
    """A copy to change: `pipeline(unet={...}, scheduler={...})`; None removes a key."""

    def make(unet=None, scheduler=None):
        folder = tmp_path / "pipeline"
        shutil.copytree(PIPELINE, folder)
        for path, changes in (
            (folder / "unet" / "config.json", unet),
            (folder / "scheduler" / "scheduler_config.json", scheduler),
        ):
            tree = json.loads(path.read_text()) | (changes or {})
            absent = {key for key, value in (changes or {}).items() if value is ...}
            path.write_text(json.dumps({k: v for k, v in tree.items() if k not in absent}))
        return folder

    return make


def test_the_golden_pipeline_is_read():
    weights, config = read_weights(PIPELINE)[:2]
    assert config is not None
    assert (config.data.image_size, config.model.ch_mult) == (16, (1, 2))
    assert config.model.attn_resolutions == (8,)
    assert list(weights) == list(parameter_shapes(config))
    assert len(weights) == len(RAW)
    expected = {  # one of each kind, by the table of names
        "temb.dense.1.weight": RAW["time_embedding.linear_2.weight"],
        "down.1.block.0.nin_shortcut.weight": RAW["down_blocks.1.resnets.0.conv_shortcut.weight"],
        "down.1.attn.0.q.weight": RAW["down_blocks.1.attentions.0.to_q.weight"][..., None, None],
        "down.0.downsample.conv.bias": RAW["down_blocks.0.downsamplers.0.conv.bias"],
        "mid.attn_1.proj_out.weight": RAW["mid_block.attentions.0.to_out.0.weight"][
            ..., None, None
        ],
        "mid.block_2.temb_proj.weight": RAW["mid_block.resnets.1.time_emb_proj.weight"],
        "up.0.block.1.conv1.weight": RAW["up_blocks.1.resnets.1.conv1.weight"],
        "up.1.upsample.conv.weight": RAW["up_blocks.0.upsamplers.0.conv.weight"],
        "up.1.attn.1.norm.weight": RAW["up_blocks.0.attentions.1.group_norm.weight"],
        "norm_out.bias": RAW["conv_norm_out.bias"],
    }
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


def test_every_layout_holds_the_same(tmp_path):
    right = load_weights(PIPELINE)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in PIPELINE.rglob("*.*"):
        shutil.copy(path, flat)
    older = {
        re.sub("|".join(OLDER), lambda match: OLDER[match[0]], name): array
        for name, array in RAW.items()
    }
    assert sum("proj_attn" in name for name in older) == 8
    bins = tmp_path / "bins"
    shutil.copytree(PIPELINE / "unet", bins)
    (bins / FILE.name).unlink()
    write_torch(bins / "diffusion_pytorch_model.bin", older)
    alone = tmp_path / "weights"
    write_torch(alone, older)
    for path in (flat, PIPELINE / "unet", FILE, bins, bins / "diffusion_pytorch_model.bin"):
        weights, config = read_weights(path)[:2]
        assert config and config.data.image_size == 16
        assert_same_tree(weights, right)
    weights, config = read_weights(alone)[:2]
    assert config is None
    assert_same_tree({name: weights[name] for name in right}, right)


def test_half_precision_is_read_as_float32(pipeline):
    folder = pipeline()
    half = {name: array.astype(np.float16) for name, array in RAW.items()}
    safetensors.numpy.save_file(half, folder / "unet" / FILE.name)
    for name, array in load_weights(folder).items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, load_weights(PIPELINE)[name], atol=2e-3)


def test_there_and_back_is_the_same_to_the_bit(tmp_path):
    weights, config = read_weights(PIPELINE)[:2]
    assert config
    save_weights(tmp_path / "again", weights, config, format="diffusers")
    assert_same_tree(
        dict(sorted(safetensors.numpy.load_file(tmp_path / "again/unet" / FILE.name).items())),
        dict(sorted(RAW.items())),
    )
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        ours = json.loads((tmp_path / "again" / name).read_text())
        theirs = json.loads((PIPELINE / name).read_text())
        missing = {key: value for key, value in theirs.items() if ours.get(key, ...) != value}
        # Bounds of clipping that is off.
        assert set(missing) <= {
            "clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value",
        }  # fmt: skip
    assert read_weights(tmp_path / "again")[1] == config
    assert_same_tree(load_weights(tmp_path / "again"), weights)


@pytest.mark.parametrize("name", config_names())
def test_names_are_mapped_one_to_one(name):
    names = diffusers_names(parameter_shapes(load_config(name)))
    theirs = dict.fromkeys(names.values())
    assert len(theirs) == len(names)
    assert official_names(theirs) == {new: old for old, new in names.items()}


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("schedule", ["linear", "quad", "const", "jsd", "sigmoid", "cosine"])
def test_every_schedule_and_network_comes_back(tmp_path, schedule, prediction):
    config = load_config("cifar10.yml", {
        "model.ch": 32, "model.num_res_blocks": 1, "model.attn_resolutions": [32, 8],
        "model.num_groups": 8,
        "diffusion.beta_schedule": schedule, "diffusion.num_diffusion_timesteps": 50,
        "diffusion.beta_start": 0.001, "diffusion.beta_end": 0.3,
        "diffusion.prediction": prediction, "diffusion.zero_terminal_snr": prediction == "v",
    })  # fmt: skip
    weights = recipe_weights(parameter_shapes(config))
    save_weights(tmp_path / "p", weights, config, format="diffusers")
    found, again = read_weights(tmp_path / "p")[:2]
    assert_same_tree(found, weights)
    assert again and again.diffusion == config.diffusion
    assert again.model.attn_resolutions == config.model.attn_resolutions
    assert again.model.ch_mult == config.model.ch_mult
    assert again.model.num_groups == 8


REFUSED = {
    "flip_sin_to_cos": True, "freq_shift": 0, "norm_eps": 1e-5, "downsample_padding": 1,
    "norm_num_groups": None, "act_fn": "gelu", "time_embedding_type": "fourier",
    "attention_head_dim": 8, "resnet_time_scale_shift": "scale_shift", "add_attention": False,
    "class_embed_type": "timestep", "downsample_type": "resnet", "time_embedding_dim": 64,
    "_class_name": "UNet2DConditionModel", "sample_size": [16, 32],
    "block_out_channels": [32, 48], "down_block_types": ["DownBlock2D", "SkipDownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D"], "layers_per_block": 0,
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
def test_networks_that_this_one_cannot_be_are_refused(pipeline, key):
    with pytest.raises(CheckpointError, match="config.json") as error:
        load_weights(pipeline(unet={key: REFUSED[key]}))
    said = str(error.value)
    ours = {"layers_per_block": "num_res_blocks", "norm_num_groups": "num_groups"}
    assert str(REFUSED[key]) in said or ours.get(key, key) in said


@pytest.mark.parametrize(
    "key", ["flip_sin_to_cos", "freq_shift", "norm_eps", "downsample_padding",
            "attention_head_dim", "sample_size", "block_out_channels"],
)  # fmt: skip
def test_what_is_left_out_has_diffusers_default_not_ours(pipeline, key):
    with pytest.raises(CheckpointError, match=key):
        load_weights(pipeline(unet={key: ...}))


def test_one_head_of_the_width_is_the_same_as_none(pipeline):
    assert load_weights(pipeline(unet={"attention_head_dim": 64}))


def test_the_process_is_read(pipeline):
    scheduler = {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "beta_schedule": "squaredcos_cap_v2",
    }  # fmt: skip
    config = read_weights(pipeline(scheduler=scheduler)).config
    assert config and config.diffusion.model_dump() == {
        "beta_schedule": "cosine", "beta_start": 0.0001, "beta_end": 0.02,
        "num_diffusion_timesteps": 1000, "prediction": "v", "zero_terminal_snr": True,
    }  # fmt: skip


def test_no_signal_at_the_end_does_not_go_with_epsilon(pipeline):
    with pytest.raises(CheckpointError, match="zero_terminal_snr needs diffusion.prediction"):
        load_weights(pipeline(scheduler={"rescale_betas_zero_snr": True}))


@pytest.mark.parametrize(("key", "value"), [("prediction_type", "flow_prediction"),
                                            ("beta_schedule", "exponential"),
                                            ("trained_betas", [0.5] * 1000)])  # fmt: skip
def test_other_processes_are_refused(pipeline, key, value):
    with pytest.raises(CheckpointError, match=key):
        load_weights(pipeline(scheduler={key: value}))


@pytest.mark.parametrize(("key", "value"), [("clip_sample", True), ("clip_sample", ...),
                                            ("steps_offset", 1)])  # fmt: skip
def test_other_samplers_are_told(pipeline, caplog, key, value):
    load_weights(pipeline(scheduler={key: value}))
    assert f"its sampler has no counterpart here: DDIMScheduler with {key}" in caplog.text


@pytest.mark.parametrize("changes", [{"model.resamp_with_conv": False},
                                     {"model.conv_shortcut": True},
                                     {"data.rescaled": False}])  # fmt: skip
def test_what_diffusers_has_not_is_not_written(tmp_path, changes):
    config = load_config("digits.yml", changes)
    weights = recipe_weights(parameter_shapes(config))
    (key,) = changes
    with pytest.raises(UserError, match=key):
        save_weights(tmp_path / "p", weights, config, format="diffusers")
    assert list(tmp_path.iterdir()) == []


def test_damaged_pipelines_are_refused(pipeline):
    folder = pipeline()
    with pytest.raises(UserError, match="already exists"):
        save_weights(folder, *read_weights(folder)[:2], format="diffusers")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json: damaged"):
        load_weights(folder)
    (folder / "unet" / "config.json").unlink()
    assert read_weights(folder)[1] is None  # the weights are whole
    (folder / "unet" / FILE.name).unlink()
    with pytest.raises(CheckpointError, match="no diffusion_pytorch_model"):
        load_weights(folder)


def test_unknown_names_are_refused(pipeline):
    folder = pipeline()
    path = folder / "unet" / FILE.name
    safetensors.numpy.save_file({**RAW, "down_blocks.0.motion.weight": RAW["conv_in.bias"]}, path)
    with pytest.raises(WeightsError, match="motion"):
        load_weights(folder)
    less = {name: array for name, array in RAW.items() if name != "conv_in.bias"}
    safetensors.numpy.save_file(less, path)
    with pytest.raises(WeightsError, match="conv_in.bias"):
        load_weights(folder)


def test_a_pipeline_in_bfloat16(pipeline):
    """A type that NumPy lacks, and so the library: half of the weights in it."""
    folder = pipeline()
    expected = load_weights(folder)
    file = folder / "unet" / FILE.name
    header, data = {}, b""
    for number, (name, array) in enumerate(RAW.items()):
        halves = (array.view(np.uint32) >> 16).astype("<u2")
        content = halves.tobytes() if number % 2 else array.tobytes()
        header[name] = {
            "dtype": "BF16" if number % 2 else "F32",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    for name, value in load_weights(folder).items():
        assert np.abs(value - expected[name]).max() <= np.abs(expected[name]).max() / 128, name


@pytest.mark.parametrize(
    "name", ["class_embedding.linear_1.weight", "some_thing.weight", "down.0.block.0.conv1.weight"]
)
def test_a_name_of_no_parameter_is_refused_without_a_config_too(tmp_path, name):
    tensors = {
        key: RAW[key]
        for key in ("conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight")
    }
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(tensors | {name: RAW["conv_in.weight"]}, path)
    with pytest.raises(WeightsError, match=re.escape(name)):
        load_weights(path)
