from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.parametrization import (
    PREDICTIONS,
    diffuse,
    min_snr_weight,
    predict_x0,
    training_target,
    x0_and_eps,
)
from jittor_ddim.diffusion.schedule import Schedule

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


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_weights(prediction):
    """By the paper's formulas, and all of them the same loss of x0 where snr is below gamma."""
    alpha_bar = Schedule.from_config(DiffusionConfig(beta_schedule="jsd")).alpha_bar
    found = min_snr_weight(prediction, alpha_bar, 5.0)
    assert np.isfinite(found).all() and found.dtype == np.float64
    snr = alpha_bar[:-1].astype(np.float64) / (1 - alpha_bar[:-1].astype(np.float64))
    clipped = np.minimum(snr, 5)
    expected = {"x0": clipped, "eps": clipped / snr, "v": clipped / (snr + 1)}[prediction]
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-12)
    assert found[-1] == 1  # at snr = 0: for eps the limit, for x0 and v so that it is learnt
    a = alpha_bar[500].astype(np.float64)
    x_t, output = 0.3, np.array([0.2, 0.25])
    x0, _ = x0_and_eps(prediction, output, x_t, a)
    by_output = min_snr_weight(prediction, alpha_bar[500:501], 5.0)[0] * np.diff(output) ** 2
    by_x0 = min_snr_weight("x0", alpha_bar[500:501], 5.0)[0] * np.diff(x0) ** 2
    np.testing.assert_allclose(by_output, by_x0, rtol=1e-9)


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="unknown prediction 'epsilon'"):
        min_snr_weight("epsilon", np.zeros(1), 5.0)
    x0, eps = draw()
    with pytest.raises(ValueError, match="unknown prediction 'epsilon'"):
        training_target("epsilon", x0, eps, 0.3)
    with pytest.raises(ValueError, match="unknown prediction 'epsilon'"):
        x0_and_eps("epsilon", eps, x0, 0.3)
