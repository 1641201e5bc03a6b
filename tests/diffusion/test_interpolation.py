import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ddim.diffusion.interpolation import slerp

SHAPE = (3, 8, 8)
ALPHAS = np.linspace(0, 1, 11)


def pair(seed=0):
    return np.random.default_rng(seed).standard_normal((2, *SHAPE)).astype(np.float32)


def rotated(a, b, alphas):
    """The arc by another way: turn a by a share of the angle in the plane of a and b."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    e_1 = a / np.linalg.norm(a)
    rest = b - b @ e_1 * e_1
    e_2 = rest / np.linalg.norm(rest)
    theta = np.arctan2(b @ e_2, b @ e_1)
    turned = np.outer(np.cos(alphas * theta), e_1) + np.outer(np.sin(alphas * theta), e_2)
    return turned.reshape(-1, *SHAPE)


@pytest.mark.parametrize("seed", range(3))
def test_slerp_turns_one_direction_into_the_other(seed):
    a, b = pair(seed)
    a, b = (x / np.linalg.norm(x) for x in (a, b))  # on the sphere the formula is a rotation
    made = slerp(a, b, ALPHAS)
    assert made.shape == (11, *SHAPE) and made.dtype == np.float32
    np.testing.assert_allclose(made, rotated(a, b, ALPHAS), rtol=0, atol=1e-6)
    np.testing.assert_allclose([np.linalg.norm(x) for x in made], 1, rtol=0, atol=1e-6)


def test_the_ends_are_the_inputs():
    a, b = pair()
    np.testing.assert_allclose(slerp(a, b, np.array([0.0, 1.0])), [a, b], rtol=0, atol=1e-6)


def test_the_middle_of_a_right_angle():
    a, b = np.zeros((2, *SHAPE), np.float32)
    a[0, 0, 0], b[1, 0, 0] = 3, 5
    middle = slerp(a, b, np.array([0.5]))[0]
    np.testing.assert_allclose(middle, (a + b) / np.sqrt(2), rtol=0, atol=1e-6)


def test_noise_keeps_the_norm_of_noise():
    a, b = pair(1)
    norms = [np.linalg.norm(x) for x in slerp(a, b, ALPHAS)]
    low, high = sorted(np.linalg.norm(x) for x in (a, b))
    assert low - 0.5 < min(norms) and max(norms) < high + 0.5
    assert np.linalg.norm((a + b) / 2) < 0.8 * low  # which the straight line does not


@pytest.mark.parametrize("scale", [1.0, 2.0, -1.0])
def test_parallel_inputs_take_the_line(scale):
    a, _ = pair()
    made = slerp(a, np.float32(scale) * a, ALPHAS)
    factors = (1 - ALPHAS + ALPHAS * scale).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(made, factors * a, rtol=0, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_slerp_is_symmetric(seed, alpha):
    a, b = pair(seed)
    there, back = slerp(a, b, np.array([alpha])), slerp(b, a, np.array([1 - alpha]))
    np.testing.assert_allclose(there, back, rtol=0, atol=1e-5)
