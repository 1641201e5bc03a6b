import math
import zlib

import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.config import config_names, load_config
from jittor_ddim.errors import UserError
from jittor_ddim.initialization import fresh_weights

#: Two levels of 64 and 128 channels, on top of the digits' config.
NETWORK = {
    "model.ch": 64, "model.ch_mult": [1, 2], "model.num_res_blocks": 2,
    "model.attn_resolutions": [4],
}  # fmt: skip


def test_names_order_shapes_and_type_are_the_networks() -> None:
    config = load_config("digits.yml", NETWORK)
    weights = fresh_weights(config)
    assert {name: value.shape for name, value in weights.items()} == parameter_shapes(config)
    assert list(weights) == list(parameter_shapes(config))
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}


def test_distribution_is_pytorchs_default() -> None:
    weights = fresh_weights(load_config("digits.yml", NETWORK))
    kernel = weights["down.1.block.1.conv1.weight"].astype(np.float64)  # (128, 128, 3, 3)
    bound = 1 / math.sqrt(128 * 9)
    assert 0.999 * bound < kernel.max() <= bound and -bound <= kernel.min() < -0.999 * bound
    n = kernel.size
    assert abs(kernel.mean()) < 5 * bound / math.sqrt(3 * n)  # five standard errors
    # The variance of U(-a, a) is a^2/3, that of its square 4 a^4/45.
    assert abs((kernel**2).mean() - bound**2 / 3) < 5 * bound**2 * math.sqrt(4 / 45 / n)
    histogram, _ = np.histogram(kernel, 16, (-bound, bound))
    assert abs(histogram - n / 16).max() < 6 * math.sqrt(n / 16)

    bias = weights["down.1.block.1.conv1.bias"]
    assert 0.9 * bound < abs(bias).max() <= bound
    assert 0.9 / 8 < abs(weights["temb.dense.0.bias"]).max() <= 1 / 8  # fan-in 64
    assert 0.9 / 3 < abs(weights["conv_in.weight"]).max() <= 1 / 3  # one channel, 3x3
    for name in ("norm_out", "mid.attn_1.norm", "up.0.block.0.norm1"):
        assert (weights[f"{name}.weight"] == 1).all()
        assert (weights[f"{name}.bias"] == 0).all()


def test_values_are_by_name_and_seed() -> None:
    small = fresh_weights(load_config("digits.yml", NETWORK))
    again = fresh_weights(load_config("digits.yml", NETWORK))
    deeper = fresh_weights(load_config("digits.yml", NETWORK | {"model.num_res_blocks": 3}))
    other = fresh_weights(load_config("digits.yml", NETWORK), seed=1235)
    for name in ("conv_in.weight", "down.1.block.1.conv2.bias", "mid.attn_1.k.weight"):
        np.testing.assert_array_equal(small[name], again[name])
        np.testing.assert_array_equal(small[name], deeper[name])
        assert abs(small[name] - other[name]).max() > 1e-3
    assert abs(small["mid.attn_1.q.weight"] - small["mid.attn_1.k.weight"]).max() > 1e-3


def test_first_values_stay_as_they_are() -> None:
    """Fresh weights are part of what a seed means: a change here changes every run."""
    weights = fresh_weights(load_config("digits.yml", NETWORK), seed=1234)
    rng = np.random.Generator(
        np.random.Philox(key=[1234, 9], counter=[0, zlib.crc32(b"conv_in.bias"), 0, 0])
    )
    expected = (rng.random(64, dtype=np.float32) * 2 - 1) / np.float32(3)
    np.testing.assert_allclose(weights["conv_in.bias"], expected, rtol=0, atol=1e-7)


def test_names_do_not_share_random_numbers() -> None:
    for config in config_names():
        names = list(parameter_shapes(load_config(config)))
        assert len({zlib.crc32(name.encode()) for name in names}) == len(names)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_an_error(seed: int) -> None:
    with pytest.raises(UserError, match="seed must be in"):
        fresh_weights(load_config("digits.yml", NETWORK), seed)


def test_recipe_weights_follow_their_recipe() -> None:
    weights = recipe_weights({"a.weight": (500, 4, 3, 3), "b.weight": (9000,), "b.bias": (9000,)})
    assert abs(weights["a.weight"].std() - 1 / 6) < 0.005
    assert abs(weights["b.weight"].mean() - 1) < 0.01 and abs(weights["b.bias"].mean()) < 0.01
    assert abs(weights["b.weight"].std() - 0.1) < 0.01
    assert golden("unet_tiny")["salt"] == 0
