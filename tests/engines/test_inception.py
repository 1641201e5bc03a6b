"""The Inception network of each engine against torch-fidelity's and clean-fid's features."""

import numpy as np
import pytest
from oracles import golden, inception_recipe_weights
from safetensors.numpy import save_file

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.inception import TAPS, parameter_shapes

GOLDEN = golden("inception_features")
TOLERANCE = 1e-5  # of a feature's maximum; the design asks for 1e-4
OTHER_MODES = [
    ("clean", "clean_2048", "images"),
    ("clean", "rect_clean_2048", "images_rect"),
    ("legacy_pytorch", "legacy_pytorch_2048", "images"),
    ("legacy_pytorch", "rect_legacy_pytorch_2048", "images_rect"),
    ("pytorch_fid", "pytorch_fid_2048", "images"),
]


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "recipe.safetensors"
    save_file(inception_recipe_weights(), path)
    return path


@pytest.fixture(scope="module")
def network(engine, weights_path):
    return engine.inception(weights_path, resize="tf1")


def assert_close(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_names_and_shapes(engine):
    assert engine.inception_shapes() == parameter_shapes()


@pytest.mark.parametrize(("prefix", "images"), [("tf", "images"), ("rect", "images_rect")])
def test_every_feature(network, prefix, images):
    found = network(GOLDEN[images])
    assert list(found) == list(TAPS)
    for name, size in TAPS.items():
        assert found[name].shape == (len(GOLDEN[images]), size)
        assert_close(found[name], GOLDEN[f"{prefix}_{name}"])


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "expected", "images"), OTHER_MODES)
def test_every_mode(engine, weights_path, mode, expected, images):
    network = engine.inception(weights_path, resize=mode)
    assert_close(network(GOLDEN[images])["2048"], GOLDEN[expected])


def test_an_image_has_the_same_features_in_any_batch(network):
    whole, alone = network(GOLDEN["images"]), network(GOLDEN["images"][5:6])
    for name in TAPS:
        assert_close(alone[name][0], whole[name][5])


def test_an_unknown_mode(engine, weights_path):
    with pytest.raises(UserError, match="'best': choose one of clean, legacy_pytorch"):
        engine.inception(weights_path, resize="best")
