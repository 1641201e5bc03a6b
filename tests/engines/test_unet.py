import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.config import parse_config
from jittor_ddim.errors import WeightsError

TOLERANCE = 2e-5  # times the maximum of the output, where that is above 1


def assert_close(found, expected, tolerance=TOLERANCE):
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    error = np.abs(found.astype(np.float64) - expected).max()
    assert error <= tolerance * max(1.0, np.abs(expected).max()), error


def loaded(engine, config, salt=0):
    unet = engine.unet(config)
    unet.load(recipe_weights(parameter_shapes(config), salt))
    return unet


def variant(config, **model):
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def grey(**model):
    """One channel, 8 x 8: the digits' kind."""
    return parse_config(
        {
            "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
            "model": {
                "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1,
                "attn_resolutions": [], **model,
            },
        },
        "grey",
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    return golden("unet_tiny")


@pytest.fixture(scope="module")
def unet(engine, tiny):
    return loaded(engine, tiny["config"])


@pytest.mark.parametrize(
    "name",
    [
        "unet_tiny",
        "unet_tiny_noresampconv",
        "unet_cifar10",
        pytest.param("unet_celeba", marks=pytest.mark.slow),
        pytest.param("unet_bedroom", marks=pytest.mark.slow),
    ],
)
def test_output_equals_the_official_code(engine, name):
    data = golden(name)
    unet = loaded(engine, data["config"], data["salt"])
    assert_close(unet.predict(data["x"], data["t"]), data["eps"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"conv_shortcut": True},
        {"resamp_with_conv": False},
        {"ch_mult": (1, 2, 1), "num_res_blocks": 2, "attn_resolutions": (16, 4)},
    ],
)
def test_parameters_are_those_of_the_architecture_in_its_order(engine, tiny, changes):
    config = variant(tiny["config"], **changes)
    weights = engine.unet(config).weights()
    shapes = {name: array.shape for name, array in weights.items()}
    assert list(shapes.items()) == list(parameter_shapes(config).items())


def test_the_conv_shortcut_is_used(engine, tiny):
    """Against the 1x1 shortcut, of which it is a 3x3 one that is zero but in the middle."""
    data = tiny
    config = variant(data["config"], conv_shortcut=True)
    weights = recipe_weights(parameter_shapes(data["config"]))
    padded = {}
    for name in parameter_shapes(config):
        value = weights[name.replace("conv_shortcut", "nin_shortcut")]
        is_kernel = name.endswith("conv_shortcut.weight")
        padded[name] = np.pad(value, ((0, 0), (0, 0), (1, 1), (1, 1))) if is_kernel else value
    assert any("conv_shortcut" in name for name in padded)
    unet = engine.unet(config)
    unet.load(padded)
    assert_close(unet.predict(data["x"], data["t"]), data["eps"])


def test_a_grey_network_computes(engine):
    """Regression: the bias of one element was fused into the convolution as a constant."""
    config = grey()
    unet = loaded(engine, config)
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8), np.float32)
    t = np.array([1, 500, 999])
    before = unet.predict(x, t)
    weights = unet.weights()
    weights["conv_out.bias"] = weights["conv_out.bias"] + np.float32(2)
    unet.load(weights)
    assert_close(unet.predict(x, t), before + 2)


def test_weights_come_back_to_the_bit(engine, tiny):
    unet = engine.unet(tiny["config"])
    rng = np.random.default_rng(7)
    weights = {n: rng.standard_normal(w.shape, np.float32) for n, w in unet.weights().items()}
    weights["temb.dense.0.weight"] = np.asfortranarray(weights["temb.dense.0.weight"])
    unet.load(weights)
    back = unet.weights()
    for name, value in weights.items():
        assert back[name].dtype == np.float32
        assert np.array_equal(back[name], value), name
        value += 1  # neither is a view of the other
        assert not np.array_equal(unet.weights()[name], value), name


def test_loading_is_strict_and_names_what_is_wrong(engine, tiny):
    unet = engine.unet(tiny["config"])
    right = unet.weights()
    name = "mid.attn_1.q.weight"
    missing = {key: value for key, value in right.items() if key != name}
    wrong = {
        "missing": missing,
        "unknown": {**right, "mid.attn_9.q.weight": right[name]},
        "of another shape": {**right, name: right[name][:, :, 0, 0]},
        "not float32": {**right, name: right[name].astype(np.float64)},
    }
    for kind, weights in wrong.items():
        expected = "mid.attn_9.q.weight" if kind == "unknown" else name
        with pytest.raises(WeightsError, match=rf"1 {kind} \({expected}"):
            unet.load(weights)
    for key, value in unet.weights().items():
        assert np.array_equal(value, right[key]), key  # a refused load changes nothing


def test_fresh_weights_follow_from_the_seed(engine, tiny):
    first, again, other = (
        engine.unet(tiny["config"], seed=seed).weights()["conv_in.weight"] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [1, 3])
def test_an_image_does_not_depend_on_its_batch(unet, tiny, size):
    found = unet.predict(tiny["x"][:size], tiny["t"][:size])
    assert_close(found, tiny["eps"][:size])


def test_timesteps_may_be_integers_or_floats(unet, tiny):
    expected = unet.predict(tiny["x"], tiny["t"])
    for kind in (np.int32, np.int64, np.float32, np.float64):
        assert np.array_equal(unet.predict(tiny["x"], tiny["t"].astype(kind)), expected), kind


def test_inputs_of_any_memory_layout(unet, tiny):
    x = tiny["x"]
    backwards = np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1]
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for view in (backwards, channels_last, x.astype(np.float64)):
        assert np.array_equal(unet.predict(view, tiny["t"]), unet.predict(x, tiny["t"]))


def test_on_the_device_it_predicts_the_same(unet, tiny):
    for t in (0, 999):
        eps = unet.predict_on_device(unet.to_device(tiny["x"]), t)
        assert np.array_equal(unet.to_host(eps), unet.predict(tiny["x"], np.full(4, t)))


def test_dropout_is_off(engine, tiny):
    unet = loaded(engine, variant(tiny["config"], dropout=0.5))
    assert_close(unet.predict(tiny["x"], tiny["t"]), tiny["eps"])
