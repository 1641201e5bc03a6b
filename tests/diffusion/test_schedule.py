from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import golden

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.schedule import Schedule, make_betas

KINDS = ("linear", "quad", "const", "jsd", "sigmoid")


def schedule(kind="linear", start=1e-4, end=0.02, steps=1000) -> Schedule:
    return Schedule.from_config(
        DiffusionConfig(
            beta_schedule=kind, beta_start=start, beta_end=end, num_diffusion_timesteps=steps
        )
    )


@pytest.mark.parametrize("kind", KINDS)
def test_betas_equal_the_official_ones(kind):
    expected = golden("beta_schedules")[kind]
    betas = make_betas(kind, 1e-4, 0.02, 1000)
    assert betas.dtype == np.float64
    np.testing.assert_allclose(betas, expected, rtol=1e-14, atol=0)
    np.testing.assert_array_equal(schedule(kind).beta, expected.astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_bar_is_the_exact_product_rounded_once(kind):
    beta = golden("beta_schedules")[kind].astype(np.float32)
    product, expected = Fraction(1), []
    for alpha in np.float32(1) - beta:
        product *= Fraction(float(alpha))
        expected.append(float(product))
    alpha_bar = schedule(kind).alpha_bar
    assert alpha_bar.dtype == np.float32
    np.testing.assert_allclose(alpha_bar, expected, rtol=2**-23, atol=0)


def test_cosine_betas_equal_those_of_another_implementation():
    expected = golden("samplers")["cosine/betas"]  # float32
    np.testing.assert_allclose(schedule("cosine").beta, expected, rtol=3e-7, atol=1e-9)
    assert schedule("cosine").beta[-1] == np.float32(0.999)
    assert np.all(schedule("cosine", steps=10**6).alpha_bar < 1)


def test_a_terminal_ratio_of_zero_equals_that_of_another_implementation():
    config = DiffusionConfig(prediction="v", zero_terminal_snr=True)
    rescaled, linear = Schedule.from_config(config), schedule()
    expected = golden("samplers")["zero_snr/alpha_bar"]
    np.testing.assert_allclose(rescaled.alpha_bar, expected, rtol=0, atol=5e-7)
    assert rescaled.alpha_bar[-1] == 0
    assert rescaled.alpha_bar[0] == linear.alpha_bar[0]
    assert rescaled.beta[-1] == 1
    np.testing.assert_allclose(rescaled.beta[0], linear.beta[0], atol=6e-8)
    np.testing.assert_allclose(np.cumprod(1 - rescaled.beta), rescaled.alpha_bar, atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "cosine"])
def test_every_schedule_can_end_without_signal(kind):
    made = Schedule.from_config(
        DiffusionConfig(beta_schedule=kind, prediction="x0", zero_terminal_snr=True)
    )
    assert made.alpha_bar[-1] == 0 and np.all(np.diff(made.alpha_bar) < 0)


def test_the_linear_schedule_ends_where_ddpm_says():
    # Ho et al. 2020, section 4: L_T = D_KL(q(x_T|x_0) || N(0, I)) is about 1e-5 bits a dimension.
    alpha_bar = float(schedule().alpha_bar[-1])
    second_moment = 0.25  # of pixels in [-1, 1], roughly
    bits = 0.5 * (alpha_bar * second_moment - alpha_bar - np.log1p(-alpha_bar)) / np.log(2)
    assert 4.03e-5 < alpha_bar < 4.04e-5
    assert 1e-6 < bits < 2e-5


def test_alpha_bar_before_the_first_timestep_is_one():
    linear = schedule()
    assert linear.alpha_bar_at(-1) == 1.0
    assert linear.alpha_bar_at(0) == float(np.float32(1) - np.float32(1e-4))
    assert linear.alpha_bar_at(999) == float(linear.alpha_bar[999])
    assert linear.num_timesteps == 1000


def test_jsd_ends_in_pure_noise():
    assert schedule("jsd").alpha_bar_at(999) == 0
    assert schedule("jsd").alpha_bar_at(998) > 0


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="'cubic'"):
        make_betas("cubic", 1e-4, 0.02, 10)


@given(
    kind=st.sampled_from(KINDS),
    ends=st.tuples(st.floats(1e-7, 0.99), st.floats(1e-7, 0.99)).map(sorted),
    steps=st.integers(2, 2000),
)
def test_every_schedule_destroys_more_and_more(kind, ends, steps):
    made = schedule(kind, *ends, steps)
    assert made.beta.shape == made.alpha_bar.shape == (steps,)
    assert np.all((made.beta > 0) & (made.beta <= 1))
    assert np.all((made.alpha_bar >= 0) & (made.alpha_bar < 1))
    assert np.all(np.diff(made.alpha_bar) <= 0)
    assert np.all(np.diff(made.beta) >= -1e-9)
