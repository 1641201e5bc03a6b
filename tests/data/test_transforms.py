import numpy as np
import pytest

from jittor_ddim.data.transforms import from_network, to_network, to_uint8

SEED, STEP, INDICES = 5, 3, range(16)
SWITCHES = {
    "random_flip": False,
    "uniform_dequantization": False,
    "gaussian_dequantization": False,
    "rescaled": False,
    "logit_transform": False,
}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)


@pytest.fixture
def data(make_config):
    return lambda **switches: make_config(**(SWITCHES | switches)).data


def run(images, data):
    x = to_network(images, data, SEED, STEP, INDICES)
    assert x.dtype == np.float32 and x.shape == (16, 3, 8, 8) and x.flags.c_contiguous
    return x


def exact(images):
    return images.astype(np.float64).transpose(0, 3, 1, 2) / 255


def test_plain_and_rescaled(images, data):
    assert np.abs(run(images, data()) - exact(images)).max() <= 6e-8
    assert np.abs(run(images, data(rescaled=True)) - (2 * exact(images) - 1)).max() <= 2e-7


def test_logit_is_finite_at_black_and_white_and_right_between(images, data):
    images[0] = 0
    images[1] = 255
    x = run(images, data(logit_transform=True))
    lam = 1e-6
    y = lam + (1 - 2 * lam) * exact(images)
    expected = np.log(y / (1 - y))
    assert np.isfinite(x).all()
    assert np.abs(x - expected).max() <= 2e-6
    noisy = run(images, data(logit_transform=True, gaussian_dequantization=True))
    assert np.isfinite(noisy).all()


def test_flip_mirrors_whole_images_half_of_the_time(images, data):
    x = run(images, data(random_flip=True))
    plain = run(images, data())
    flipped = [np.array_equal(a, b[:, :, ::-1]) for a, b in zip(x, plain, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(x, plain, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    many = np.arange(1000, dtype=np.uint8).repeat(64 * 3).reshape(1000, 8, 8, 3) * 0
    many[:, :, 0] = 255
    left = to_network(many, data(random_flip=True), SEED, STEP, range(1000))[:, 0, 0, 0]
    assert 430 < left.sum() < 570


def test_uniform_dequantization_fills_the_bins(images, data):
    x = run(images, data(uniform_dequantization=True)).astype(np.float64)
    u = 256 * (x - exact(images) * 255 / 256)
    assert u.min() > -1e-4 and u.max() < 1 + 1e-4
    assert abs(u.mean() - 0.5) < 0.03 and abs(u.var() - 1 / 12) < 0.01


def test_gaussian_dequantization_has_a_hundredth(images, data):
    n = (run(images, data(gaussian_dequantization=True)) - exact(images)) / 0.01
    assert abs(n.mean()) < 0.1 and abs(n.std() - 1) < 0.05


@pytest.mark.parametrize(
    "switch", ["random_flip", "uniform_dequantization", "gaussian_dequantization"]
)
def test_randomness_belongs_to_seed_step_and_position(images, data, switch):
    settings = data(**{switch: True})
    whole = run(images, settings)
    for part in (range(0, 5), range(5, 16), [7]):
        again = to_network(images[list(part)], settings, SEED, STEP, part)
        assert np.array_equal(again, whole[list(part)])
    assert not np.array_equal(whole, to_network(images, settings, SEED, STEP + 1, INDICES))
    assert not np.array_equal(whole, to_network(images, settings, SEED + 1, STEP, INDICES))


@pytest.mark.parametrize("switch", ["rescaled", "logit_transform", None])
def test_inverse_brings_every_pixel_value_back(data, switch):
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    settings = data(**({switch: True} if switch else {}))
    x = to_network(images, settings, SEED, STEP, range(4))
    back = from_network(x, settings)
    assert back.dtype == np.float32
    assert np.array_equal(to_uint8(back), images)
    wild = from_network(np.array([-1e4, -50, 50, 1e4], np.float32), settings)
    assert np.array_equal(wild, [0, 0, 1, 1])


def test_sigmoid_in_float64(data):
    x = np.linspace(-14, 14, 1001, dtype=np.float32)
    expected = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(from_network(x, data(logit_transform=True)) - expected).max() <= 1e-7


def test_to_uint8_rounds_as_save_image():
    x = np.array([-1, 0, 0.4999 / 255, 0.5001 / 255, 99.4 / 255, 99.6 / 255, 1, 2], np.float32)
    pixels = to_uint8(x.reshape(8, 1, 1, 1))
    assert pixels.dtype == np.uint8 and pixels.shape == (8, 1, 1, 1)
    assert pixels.ravel().tolist() == [0, 0, 0, 1, 99, 100, 255, 255]
    channels = to_uint8(np.zeros((2, 3, 4, 5), np.float32))
    assert channels.shape == (2, 4, 5, 3)
