"""The Inception network as data, and the ways to its input, against the golden outputs."""

import numpy as np
import pytest
from oracles import golden, inception_recipe_weights

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.inception import convolutions, fold, parameter_shapes
from jittor_ddim.metrics.resize import MODES, resize, to_input

GOLDEN = golden("inception_features")


def test_the_published_names():
    names = {str(name) for name in GOLDEN["param_names"]}
    counters = {name for name in names if name.endswith("num_batches_tracked")}
    assert set(parameter_shapes()) == names - counters
    assert len(counters) == len(list(convolutions())) == 94
    numbers = sum(int(np.prod(shape)) for shape in parameter_shapes().values())
    assert 4 * numbers == pytest.approx(95_628_359, rel=0.01)  # the published file's bytes


def test_batch_normalisation_is_folded():
    weights = inception_recipe_weights()
    conv = next(convolutions())
    kernel, bias = fold(weights)[conv.name]
    patch = np.random.default_rng(0).normal(size=kernel.shape[1:])

    def part(name):
        return weights[f"{conv.name}.{name}"].astype(np.float64)

    y = (part("conv.weight") * patch).sum(axis=(1, 2, 3))
    y = (y - part("bn.running_mean")) / np.sqrt(part("bn.running_var") + 1e-3)
    y = y * part("bn.weight") + part("bn.bias")
    np.testing.assert_allclose((kernel * patch).sum(axis=(1, 2, 3)) + bias, y, atol=1e-5)


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch", "tf1"])
def test_resized_images_are_those_of_the_other_programs(mode):
    found = resize(GOLDEN["images"][:1], mode)[0]
    expected = GOLDEN[f"resize_{mode}"]
    assert np.abs(found - expected).max() <= 2e-4  # of 255


def test_pytorch_fid_resizes_as_legacy_and_scales_otherwise():
    images = GOLDEN["images_rect"]
    np.testing.assert_array_equal(resize(images, "pytorch_fid"), resize(images, "legacy_pytorch"))
    white = np.full((1, 4, 4, 3), 255, np.uint8)
    assert to_input(white, "pytorch_fid").max() == pytest.approx(1, abs=1e-6)
    assert to_input(white, "tf1").max() == pytest.approx(127 / 128)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5, 400), (299, 299), (1, 1)])
def test_any_size_and_no_change_of_what_is_flat(mode, shape):
    images = np.full((2, *shape, 3), 77, np.uint8)
    images[..., 1] = 200
    found = resize(images, mode)
    assert found.shape == (2, 299, 299, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.broadcast_to([77, 200, 77], found.shape), atol=1e-3)
    assert to_input(images, mode).shape == (2, 3, 299, 299)


def test_what_cannot_be_resized():
    with pytest.raises(UserError, match="'best': choose one of clean, legacy_pytorch"):
        resize(GOLDEN["images"], "best")
    for wrong in (GOLDEN["images"][0], GOLDEN["images"].astype(float), GOLDEN["images"][:0]):
        with pytest.raises(UserError, match="expected uint8 images"):
            resize(wrong, "clean")
