import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out
from jittor_ddim.demo.judge import Judge
from jittor_ddim.metrics import fid
from jittor_ddim.metrics.small import load_small


@pytest.fixture(scope="module")
def judge():
    return Judge()


def test_real_digits_are_read_as_a_classifier_of_another_kind_reads_them(judge):
    images, labels = load_digits()
    train, test = (hold_out(len(images), split, "digits") for split in ("train", "test"))
    rows = images.reshape(len(images), -1) / 255
    other = LogisticRegression(C=0.1, max_iter=2000).fit(rows[train], labels[train])
    reading, _ = judge.judge(images[test][..., None], labels[test])
    assert reading == judge.real
    assert (reading.images, reading.read) == (89, pytest.approx(87 / 89))
    assert abs(reading.read - other.score(rows[test], labels[test])) < 0.05
    assert reading.surely <= reading.read


def test_what_is_asked_for_counts(judge):
    images, labels = load_digits()
    pixels = images[:200][..., None]
    assert judge.judge(pixels, labels[:200])[0].read > 0.98
    assert judge.judge(pixels, (labels[:200] + 1) % 10)[0].read < 0.02


def test_noise_is_read_as_asked_for_no_oftener_than_by_chance(judge):
    noise = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 1), np.uint8)
    reading, distance = judge.judge(noise, np.arange(500) % 10)
    assert reading.surely <= reading.read < 0.15
    assert distance > 50


def test_the_distance_is_fd_small(judge):
    images, labels = load_digits()
    pixels = images[..., None]
    assert judge.judge(pixels, labels)[1] == pytest.approx(0, abs=1e-6)
    some, small = pixels[300:700], load_small(8, 8)
    real, found = (
        small.features(small.prepare(part.repeat(3, axis=3)))[0] for part in (pixels, some)
    )
    assert judge.judge(some, labels[300:700])[1] == pytest.approx(fid(real, found), rel=1e-6)
