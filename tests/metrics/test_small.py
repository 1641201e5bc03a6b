"""The shipped classifiers: their arithmetic against SciPy, and what they know."""

import numpy as np
import pytest
from scipy.signal import correlate

from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.small import CLASSIFIERS, load_small


@pytest.fixture(params=CLASSIFIERS)
def classifier(request):
    return load_small(request.param, request.param)


def test_the_network_is_what_it_says(classifier):
    size = classifier.card["image_size"]
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    features, logits = classifier.features(classifier.prepare(images))
    for image, found, scores in zip(images, features, logits, strict=True):
        x = image / 127.5 - 1
        x = x if classifier.channels == 3 else x.mean(axis=2, keepdims=True)
        for stage, (kernel, bias) in enumerate(
            zip(classifier.kernels, classifier.biases, strict=True)
        ):
            if stage:
                x = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
            cube = kernel.reshape(3, 3, x.shape[2], -1).astype(np.float64)
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            maps = [correlate(padded, cube[..., k], "valid")[..., 0] for k in range(len(bias))]
            x = np.maximum(np.stack(maps, axis=2) + bias, 0)
        expected = x.mean(axis=(0, 1))
        np.testing.assert_allclose(found, expected, atol=2e-5 * expected.max())
        expected = expected @ classifier.head + classifier.head_bias
        np.testing.assert_allclose(scores, expected, atol=2e-5 * np.abs(expected).max())


def test_features_do_not_depend_on_the_batch(classifier):
    size = classifier.card["image_size"]
    images = np.random.default_rng(2).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    whole, _ = classifier.features(classifier.prepare(images))
    alone, _ = classifier.features(classifier.prepare(images[3:4]))
    np.testing.assert_allclose(alone[0], whole[3], atol=1e-5 * whole.max())


def test_digits_that_training_has_not_seen():
    images, classes = load_digits()
    rows = hold_out(len(images), "test", "digits")
    pixels = np.repeat(images[rows][..., None], 3, axis=3)
    classifier = load_small(8, 8)
    _, logits = classifier.features(classifier.prepare(pixels))
    found = (logits.argmax(axis=1) == classes[rows]).mean()
    assert found == pytest.approx(classifier.card["test_accuracy"], abs=1e-4)
    assert classifier.card["test_accuracy"] > 0.95 and classifier.card["test_images"] == len(rows)


def test_only_the_sizes_there_are():
    with pytest.raises(UserError, match=r"8x8 and 32x32, these are 64x64; set `features` to inc"):
        load_small(64, 64)
    with pytest.raises(UserError, match="8x32"):
        load_small(8, 32)
