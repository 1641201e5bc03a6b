from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jittor_ddim.diffusion.parametrization import (
    PREDICTIONS,
    diffuse,
    predict_x0,
    training_target,
    x0_and_eps,
)

SHAPE = (3, 2, 4, 4)


def draw():
    """x0 and eps in float64."""
    return np.random.default_rng(0).standard_normal((2, *SHAPE))


@given(st.floats(1e-4, 1))
def test_prediction_undoes_diffusion(a):
    x0, eps = draw()
    recovered = predict_x0(diffuse(x0, eps, a), eps, a)
    np.testing.assert_allclose(recovered, x0, rtol=0, atol=1e-9)


def test_each_image_may_have_its_own_timestep():
    x0, eps = draw()
    a = np.array([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)
    for function in (diffuse, predict_x0, partial(training_target, "v")):
        together = function(x0, eps, a)
        for image in range(3):
            alone = function(x0[image], eps[image], float(a[image, 0, 0, 0]))
            np.testing.assert_array_equal(together[image], alone)


@given(st.sampled_from(PREDICTIONS), st.floats(1e-3, 0.999))
def test_the_target_of_training_stands_for_x0_and_eps(prediction, a):
    x0, eps = draw()
    target = training_target(prediction, x0, eps, a)
    found = x0_and_eps(prediction, target, diffuse(x0, eps, a), a)
    np.testing.assert_allclose(found, (x0, eps), rtol=0, atol=1e-9)


def test_what_each_prediction_is():
    x0, eps = draw()
    assert training_target("eps", x0, eps, 0.3) is eps
    assert training_target("x0", x0, eps, 0.3) is x0
    angle = np.arccos(np.sqrt(0.3))  # Salimans & Ho 2022, appendix D: v = d x_t / d angle
    np.testing.assert_allclose(
        training_target("v", x0, eps, 0.3), np.cos(angle) * eps - np.sin(angle) * x0, atol=1e-12
    )


def test_an_unknown_prediction_is_refused():
    x0, eps = draw()
    with pytest.raises(ValueError, match="unknown prediction 'epsilon'"):
        training_target("epsilon", x0, eps, 0.3)
    with pytest.raises(ValueError, match="unknown prediction 'epsilon'"):
        x0_and_eps("epsilon", eps, x0, 0.3)
