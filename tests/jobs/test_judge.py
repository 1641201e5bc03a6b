import numpy as np
import pytest

from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out
from jittor_ddim.jobs.judge import judge_digits


@pytest.fixture(scope="module")
def unseen():
    """Real digits that the judge's classifier was not fitted to."""
    images, _ = load_digits()
    return images[hold_out(len(images), "test", "digits")][..., None]


def test_real_digits_can_be_read(unseen):
    verdict = judge_digits(unseen)
    assert verdict.images == len(unseen)
    assert verdict.read >= 0.85
    assert verdict.read == verdict.real_read
    assert verdict.classes == 10


def test_noise_cannot():
    noise = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8)
    verdict = judge_digits(noise)
    assert (verdict.images, verdict.read, verdict.classes) == (200, 0, 0)
    assert verdict.real_read >= 0.85


def test_only_what_was_read_counts_as_a_class(unseen):
    """One digit over and over, among noise."""
    images, classes = load_digits()
    three = images[classes == 3][0][None, ..., None]
    noise = np.random.default_rng(1).integers(0, 256, (30, 8, 8, 1), np.uint8)
    verdict = judge_digits(np.concatenate([three.repeat(10, axis=0), noise]))
    assert (verdict.images, verdict.read, verdict.classes) == (40, 0.25, 1)
