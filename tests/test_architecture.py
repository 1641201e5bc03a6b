import math

import pytest
from oracles import golden

from jittor_ddim.architecture import (
    backward_order,
    count_parameters,
    flops,
    layers,
    parameter_shapes,
)
from jittor_ddim.config import Config, config_names, load_config


@pytest.mark.parametrize(
    ("name", "count"),
    # Counts of the official network, as built by its own code.
    [("cifar10", 35_746_307), ("celeba", 78_700_803), ("bedroom", 113_673_219)],
)
def test_parameter_count_is_the_official_one(name: str, count: int) -> None:
    config = golden(f"unet_{name}")["config"]
    assert count_parameters(config) == count
    assert sum(math.prod(shape) for shape in parameter_shapes(config).values()) == count


def test_the_backward_order_is_that_of_execution_reversed() -> None:
    config = golden("unet_cifar10")["config"]
    names = list(parameter_shapes(config))
    order = [names[place] for place in backward_order(config)]
    assert sorted(order) == sorted(names)
    assert {*order[:2]} == {"conv_out.weight", "conv_out.bias"}
    assert {*order[-4:]} == {
        f"temb.dense.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")
    }
    assert order.index("up.0.block.0.conv1.weight") < order.index("up.3.block.0.conv1.weight")


def _block(name: str, shortcut: str = "") -> list[str]:
    parts = ["norm1", "conv1", "temb_proj", "norm2", "conv2", *([shortcut] if shortcut else [])]
    return [f"{name}.{part}" for part in parts]


def _attention(name: str) -> list[str]:
    return [f"{name}.{part}" for part in ("norm", "q", "k", "v", "proj_out")]


def test_names_and_order_of_the_official_state_dict() -> None:
    """Written by hand from the official code: two levels, two blocks, attention in the lower."""
    config = Config.model_validate(
        {
            "data": {"dataset": "DIGITS", "image_size": 16},
            "model": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 2, "attn_resolutions": [8]},
        }
    )
    modules = [
        *("temb.dense.0", "temb.dense.1", "conv_in"),
        *_block("down.0.block.0"),
        *_block("down.0.block.1"),
        "down.0.downsample.conv",
        *_block("down.1.block.0", "nin_shortcut"),
        *_block("down.1.block.1"),
        *_attention("down.1.attn.0"),
        *_attention("down.1.attn.1"),
        *_block("mid.block_1"),
        *_attention("mid.attn_1"),
        *_block("mid.block_2"),
        *_block("up.0.block.0", "nin_shortcut"),
        *_block("up.0.block.1", "nin_shortcut"),
        *_block("up.0.block.2", "nin_shortcut"),
        *_block("up.1.block.0", "nin_shortcut"),
        *_block("up.1.block.1", "nin_shortcut"),
        *_block("up.1.block.2", "nin_shortcut"),
        *(part for i in range(3) for part in _attention(f"up.1.attn.{i}")),
        "up.1.upsample.conv",
        *("norm_out", "conv_out"),
    ]
    shapes = parameter_shapes(config)
    assert list(shapes) == [f"{m}.{kind}" for m in modules for kind in ("weight", "bias")]
    assert shapes["temb.dense.0.weight"] == (128, 32)
    assert shapes["down.1.block.0.temb_proj.weight"] == (64, 128)
    assert shapes["mid.attn_1.q.weight"] == (64, 64, 1, 1)
    assert shapes["up.1.block.0.norm1.weight"] == (128,)  # 64 and a skip of 64
    assert shapes["up.1.block.2.conv1.weight"] == (64, 96, 3, 3)  # 64 and down.0.downsample's 32
    assert shapes["up.0.block.0.nin_shortcut.weight"] == (32, 96, 1, 1)  # up.1's 64 and 32
    assert shapes["conv_out.bias"] == (3,)


def test_flops_of_cifar10_counted_by_hand() -> None:
    def block(size: int, c_in: int, c_out: int) -> int:
        shortcut = c_in * c_out if c_in != c_out else 0
        return size**2 * (9 * c_in * c_out + 9 * c_out**2 + shortcut) + 512 * c_out

    def attention(size: int, c: int) -> int:
        return size**2 * 4 * c**2 + 2 * c * size**4

    down = 2 * block(32, 128, 128) + 16**2 * 9 * 128**2
    down += block(16, 128, 256) + block(16, 256, 256) + 2 * attention(16, 256)
    down += 2 * block(8, 256, 256) + 2 * block(4, 256, 256) + (8**2 + 4**2) * 9 * 256**2
    mid = 2 * block(4, 256, 256) + attention(4, 256)
    up = 3 * block(4, 512, 256) + 3 * block(8, 512, 256) + (8**2 + 16**2) * 9 * 256**2
    up += 2 * block(16, 512, 256) + block(16, 384, 256) + 3 * attention(16, 256)
    up += 32**2 * 9 * 256**2 + block(32, 384, 128) + 2 * block(32, 256, 128)
    ends = 2 * 32**2 * 9 * 3 * 128 + 128 * 512 + 512**2
    assert flops(load_config("cifar10.yml")) == 2 * (down + mid + up + ends) == 12_443_713_536


@pytest.mark.parametrize("name", config_names())
def test_layers_fit_each_other(name: str) -> None:
    config = load_config(name)
    table = layers(config)
    names = [layer.name for layer in table]
    assert len(set(names)) == len(names)
    ends = {layer.name: layer for layer in table}
    assert ends["conv_in"].in_shape == ends["conv_out"].out_shape == config.sample_shape
    assert list(parameter_shapes(config)) != [n for layer in table for n in layer.parameters]
    assert {n for layer in table for n in layer.parameters} == set(parameter_shapes(config))
    levels = range(len(config.model.ch_mult))
    classes = ["class_embedding"] if config.model.num_classes else []
    stages = ["temb", *classes, "conv_in", *(f"down.{i}" for i in levels), "mid"]
    stages += [*(f"up.{i}" for i in reversed(levels)), "norm_out", "conv_out"]
    assert list(dict.fromkeys(layer.stage for layer in table)) == stages


def test_layers_run_in_the_order_of_execution() -> None:
    names = [layer.name for layer in layers(load_config("cifar10.yml"))]
    order = ["down.1.block.0.conv1", "down.1.attn.0.q", "down.1.attn.0", "down.1.attn.0.proj_out"]
    order += [
        "down.1.block.1.conv1",
        "down.1.downsample.conv",
        "down.2.block.0.norm1",
        "mid.attn_1",
    ]
    order += ["up.3.block.0.norm1", "up.3.upsample", "up.3.upsample.conv", "up.0.block.2.conv2"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)


def test_resampling_without_convolution_has_no_parameters() -> None:
    config = golden("unet_tiny_noresampconv")["config"]
    table = {layer.name: layer for layer in layers(config)}
    assert not any("sample" in name for name in parameter_shapes(config))
    assert table["down.0.downsample"].in_shape == (32, 16, 16)
    assert table["down.0.downsample"].out_shape == (32, 8, 8)
    assert table["up.1.upsample"].out_shape == (32, 16, 16)


def test_conv_shortcut_replaces_the_projection() -> None:
    projection = parameter_shapes(load_config("cifar10.yml"))
    conv = parameter_shapes(load_config("cifar10.yml", {"model.conv_shortcut": True}))
    renamed = [name.replace("nin_shortcut", "conv_shortcut") for name in projection]
    assert list(conv) == renamed != list(projection)
    assert conv["down.1.block.0.conv_shortcut.weight"] == (256, 128, 3, 3)
    assert projection["down.1.block.0.nin_shortcut.weight"] == (256, 128, 1, 1)


def test_attention_at_several_resolutions() -> None:
    shapes = parameter_shapes(golden("unet_tiny_noresampconv")["config"])  # attention at 16 and 4
    levels = {name.split(".attn.")[0] for name in shapes if ".attn." in name}
    assert levels == {"down.0", "down.2", "up.0", "up.2"}


def test_an_only_level_is_not_resampled() -> None:
    config = load_config("digits.yml", {"model.ch_mult": [1], "model.attn_resolutions": []})
    assert {layer.kind for layer in layers(config)}.isdisjoint({"downsample", "upsample"})
