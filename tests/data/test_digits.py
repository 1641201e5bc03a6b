import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from jittor_ddim.data import open_images
from jittor_ddim.data.digits import load_digits


def test_values_become_eight_bits_beside_their_classes():
    images, labels = load_digits()
    bunch = datasets.load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert np.array_equal(images, np.round(bunch.images * 255 / 16))
    assert images.max() == 255 and np.array_equal(labels, bunch.target)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16])
def test_splits_are_disjoint_and_cover_all(tmp_path, make_config, size, channels):
    config = make_config(dataset="DIGITS", image_size=size, channels=channels)
    train = open_images(config, "train", tmp_path).images
    test = open_images(config, "test", tmp_path).images
    assert len(open_images(config, "test", tmp_path).labels) == 89
    assert train.shape == (1708, size, size, channels)
    assert test.shape == (89, size, size, channels)
    native = [Image.fromarray(image) for image in load_digits()[0]]
    if size != 8:
        native = [image.resize((size, size), Image.Resampling.BICUBIC) for image in native]
    expected = sorted(np.asarray(image).tobytes() for image in native)
    found = [image[..., c].tobytes() for image in (*train, *test) for c in range(channels)]
    assert sorted(found) == sorted(expected * channels)
    assert not list(tmp_path.iterdir())
