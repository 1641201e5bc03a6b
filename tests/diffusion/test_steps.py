import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import golden

from jittor_ddim.diffusion.steps import (
    clip,
    ddim_sigma,
    ddim_step,
    ddpm_noisy_step,
    diffuse,
    encode_step,
    predict_x0,
)

SHAPE = (3, 2, 4, 4)
BETAS = golden("beta_schedules")["linear"]
ALPHA_BARS = np.cumprod(1 - BETAS)
#: alpha_bar of a timestep and of the one that a step leads to.
PAIRS = st.tuples(st.floats(1e-4, 0.9999), st.floats(1e-4, 0.9999)).map(sorted)


def draw(seed=0):
    """x0, eps and noise in float64."""
    return np.random.default_rng(seed).standard_normal((3, *SHAPE))


def posterior(x_t, x0, t, t_prev):
    """Mean and variance of q(x_prev | x_t, x0): Ho et al. 2020, eq. 7, for any two timesteps."""
    a = ALPHA_BARS[t]
    a_prev = ALPHA_BARS[t_prev] if t_prev >= 0 else 1.0
    beta = BETAS[t] if t_prev == t - 1 else 1 - a / a_prev
    mean = (
        math.sqrt(a_prev) * beta / (1 - a) * x0
        + math.sqrt(1 - beta) * (1 - a_prev) / (1 - a) * x_t
    )
    return mean, (1 - a_prev) / (1 - a) * beta


def alpha_bar(t: int) -> float:
    return float(ALPHA_BARS[t]) if t >= 0 else 1.0


@pytest.mark.parametrize("gap", [1, 10, 333])
def test_eta_one_is_the_ancestral_step_of_ddpm(gap):
    x0, eps, noise = draw()
    for t in range(gap - 1, 1000, gap):
        x_t = diffuse(x0, eps, ALPHA_BARS[t])
        mean, variance = posterior(x_t, x0, t, t - gap)
        step = ddim_step(x0, eps, alpha_bar(t), alpha_bar(t - gap), 1.0, noise)
        np.testing.assert_allclose(step, mean + math.sqrt(variance) * noise, rtol=0, atol=1e-11)
        sigma = ddim_sigma(alpha_bar(t), alpha_bar(t - gap), 1.0)
        assert sigma**2 == pytest.approx(variance, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("gap", [1, 10, 333])
def test_ddpm_noisy_has_the_mean_of_the_posterior_and_the_larger_variance(gap):
    x0, eps, noise = draw()
    for t in range(gap - 1, 1000, gap):
        x_t = diffuse(x0, eps, ALPHA_BARS[t])
        mean, variance = posterior(x_t, x0, t, t - gap)
        arguments = x_t, x0, alpha_bar(t), alpha_bar(t - gap)
        np.testing.assert_allclose(ddpm_noisy_step(*arguments, None), mean, rtol=0, atol=1e-11)
        sigma_hat = math.sqrt(1 - alpha_bar(t) / alpha_bar(t - gap))
        assert sigma_hat**2 >= variance
        noisy = ddpm_noisy_step(*arguments, noise)
        np.testing.assert_allclose(noisy, mean + sigma_hat * noise, rtol=0, atol=1e-11)


@given(PAIRS, st.floats(0, 1))
def test_every_eta_keeps_the_marginal(pair, eta):
    """Lemma 1 of the paper: x_next ~ N(sqrt(a_next) x0, (1 - a_next) I) for every sigma."""
    a, a_next = pair
    zero, one = np.zeros(1), np.ones(1)
    of_x0 = ddim_step(one, zero, a, a_next, eta, zero)
    of_eps = ddim_step(zero, one, a, a_next, eta, zero)
    of_noise = ddim_step(zero, zero, a, a_next, eta, one)
    assert of_x0 == pytest.approx(math.sqrt(a_next), abs=1e-12)
    assert of_eps**2 + of_noise**2 == pytest.approx(1 - a_next, abs=1e-12)
    assert of_noise == pytest.approx(eta * ddim_sigma(a, a_next, 1.0), abs=1e-12)


@given(PAIRS)
def test_eta_zero_is_deterministic_and_encoding_undoes_it(pair):
    a, a_next = pair
    x0, eps, noise = draw()
    x_t = diffuse(x0, eps, a)
    step = ddim_step(x0, eps, a, a_next, 0.0, None)
    np.testing.assert_array_equal(step, ddim_step(x0, eps, a, a_next, 0.0, noise))
    np.testing.assert_allclose(encode_step(step, eps, a_next, a), x_t, rtol=0, atol=1e-9)


def test_the_last_step_returns_the_prediction():
    x0, eps, noise = draw()
    for eta in (0.0, 0.5, 1.0, 3.0):
        np.testing.assert_array_equal(ddim_step(x0, eps, 0.9999, 1.0, eta, None), x0)
        np.testing.assert_array_equal(ddim_step(x0, eps, 0.9999, 1.0, eta, noise), x0)
    x_t = diffuse(x0, eps, 0.9999)
    np.testing.assert_allclose(ddpm_noisy_step(x_t, x0, 0.9999, 1.0, None), x0, atol=1e-11)


def test_an_eta_beyond_the_variance_drops_the_direction():
    x0, eps, noise = draw()
    step = ddim_step(x0, eps, 0.5, 0.6, 10.0, noise)
    sigma = 10 * math.sqrt(0.4 / 0.5 * (1 - 0.5 / 0.6))
    np.testing.assert_allclose(step, math.sqrt(0.6) * x0 + sigma * noise, rtol=0, atol=1e-12)


@given(st.floats(1e-4, 1))
def test_prediction_undoes_diffusion(a):
    x0, eps, _ = draw()
    recovered = predict_x0(diffuse(x0, eps, a), eps, a)
    np.testing.assert_allclose(recovered, x0, rtol=0, atol=1e-9)


def test_diffusion_takes_a_timestep_an_image():
    x0, eps, _ = draw()
    a = np.array([0.9, 0.5, 0.1]).reshape(3, 1, 1, 1)
    together = diffuse(x0, eps, a)
    for image in range(3):
        alone = diffuse(x0[image], eps[image], float(a[image, 0, 0, 0]))
        np.testing.assert_array_equal(together[image], alone)


def test_clip_works_on_arrays_that_clamp():
    class Clamping:
        def clamp(self, low, high):
            return low, high

    assert clip(Clamping()) == (-1, 1)
    np.testing.assert_array_equal(clip(np.array([-3.0, 0.25, 1.5])), [-1, 0.25, 1])


def test_float32_stays_float32():
    x0, eps, noise = draw().astype(np.float32)
    for made in (
        ddim_step(x0, eps, 0.5, 0.7, 0.5, noise),
        ddpm_noisy_step(x0, eps, 0.5, 0.7, noise),
        encode_step(x0, eps, 0.7, 0.5),
        predict_x0(x0, eps, 0.5),
    ):
        assert made.dtype == np.float32
