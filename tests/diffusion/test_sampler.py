"""The samplers with denoisers that are known in closed form, so that the result is too."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.sampler import check_sampler, check_signal, denoise, encode
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.timesteps import make_timesteps
from jittor_ddim.errors import UserError

SCHEDULE = Schedule.from_config(DiffusionConfig())
SHAPE = (3, 1, 2, 2)

#: A Gaussian in four dimensions: its best denoiser is linear.
MEAN = np.array([0.5, -1.0, 0.0, 2.0])
FACTOR = np.array([[1, 0, 0, 0], [0.5, 0.8, 0, 0], [-0.3, 0.2, 0.6, 0], [0.1, 0, 0.4, 0.3]])
COVARIANCE = FACTOR @ FACTOR.T


def gaussian_denoiser(x, t):
    """E[eps | x_t] for x0 ~ N(MEAN, COVARIANCE): sqrt(1-a) (a C + (1-a) I)^-1 (x - sqrt(a) m)."""
    a = SCHEDULE.alpha_bar_at(t)
    marginal = a * COVARIANCE + (1 - a) * np.eye(4)
    gain = math.sqrt(1 - a) * np.linalg.inv(marginal)
    return ((x.reshape(-1, 4) - math.sqrt(a) * MEAN) @ gain).reshape(x.shape)


def white_denoiser(x, t):
    """The same for x0 ~ N(0, I), where x_t ~ N(0, I) at every t."""
    return math.sqrt(1 - SCHEDULE.alpha_bar_at(t)) * x


def odd_denoiser(x, t):
    """Of no distribution: it depends on x and t, and not linearly."""
    return np.sin(3 * x + t / 100) + 0.1 * x


def no_noise(k):
    raise AssertionError(f"asked for noise at call {k}")


def last(steps):
    *_, end = steps
    return end


def official(x, timesteps, predict, eta, noise):
    """`generalized_steps` of the official code (functions/denoising.py), in float64."""
    states, predictions = [x], []
    following = [-1, *timesteps[:-1]]
    pairs = zip(reversed(timesteps), reversed(following), strict=True)
    for k, (i, j) in enumerate(pairs):
        at, at_next = SCHEDULE.alpha_bar_at(i), SCHEDULE.alpha_bar_at(j)
        xt = states[-1]
        et = predict(xt, i)
        x0_t = (xt - et * math.sqrt(1 - at)) / math.sqrt(at)
        c1 = eta * math.sqrt((1 - at / at_next) * (1 - at_next) / (1 - at))
        c2 = math.sqrt((1 - at_next) - c1**2)
        states.append(math.sqrt(at_next) * x0_t + c1 * noise[k] + c2 * et)
        predictions.append(x0_t)
    return states[1:], predictions


def official_ddpm(x, timesteps, predict, noise):
    """`ddpm_steps` of the official code, likewise."""
    states, predictions = [x], []
    following = [-1, *timesteps[:-1]]
    pairs = zip(reversed(timesteps), reversed(following), strict=True)
    for k, (i, j) in enumerate(pairs):
        at, atm1 = SCHEDULE.alpha_bar_at(i), SCHEDULE.alpha_bar_at(j)
        beta_t = 1 - at / atm1
        x = states[-1]
        e = predict(x, i)
        x0 = np.clip(math.sqrt(1 / at) * x - math.sqrt(1 / at - 1) * e, -1, 1)
        mean = (math.sqrt(atm1) * beta_t * x0 + math.sqrt(1 - beta_t) * (1 - atm1) * x) / (1 - at)
        states.append(mean + (i != 0) * math.sqrt(beta_t) * noise[k])
        predictions.append(x0)
    return states[1:], predictions


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("count", "skip"), [(1, "uniform"), (10, "uniform"), (50, "quad")])
def test_ddim_walks_as_the_official_code(eta, count, skip):
    rng = np.random.default_rng(0)
    timesteps = make_timesteps(1000, count, skip)
    x, noise = rng.standard_normal(SHAPE), rng.standard_normal((count, *SHAPE))
    states, predictions = official(x, timesteps, odd_denoiser, eta, noise)
    steps = list(denoise(odd_denoiser, x, timesteps, SCHEDULE, eta=eta, noise=lambda k: noise[k]))
    np.testing.assert_allclose([s.x_t for s in steps], states, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose([s.x0 for s in steps], predictions, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [1, 10, 50])
def test_ddpm_noisy_walks_as_the_official_code(count):
    rng = np.random.default_rng(1)
    timesteps = make_timesteps(1000, count)
    x, noise = rng.standard_normal(SHAPE), rng.standard_normal((count, *SHAPE))
    states, predictions = official_ddpm(x, timesteps, odd_denoiser, noise)
    arguments = {"variance": "ddpm_noisy", "noise": lambda k: noise[k]}
    steps = list(denoise(odd_denoiser, x, timesteps, SCHEDULE, **arguments))
    np.testing.assert_allclose([s.x_t for s in steps], states, rtol=0, atol=1e-10)
    np.testing.assert_allclose([s.x0 for s in steps], predictions, rtol=0, atol=1e-10)


@settings(deadline=None)
@given(
    timesteps=st.lists(st.integers(0, 999), min_size=1, max_size=8, unique=True).map(sorted),
    eta=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    variance=st.sampled_from(["ddim", "ddpm_noisy"]),
)
def test_what_a_step_says(timesteps, eta, variance):
    calls, asked = [], []

    def predict(x, t):
        calls.append((x.copy(), t))
        return odd_denoiser(x, t)

    def noise(k):
        asked.append(k)
        return np.full(SHAPE, float(k))

    x_T = np.random.default_rng(2).standard_normal(SHAPE)
    steps = list(
        denoise(predict, x_T, timesteps, SCHEDULE, eta=eta, variance=variance, noise=noise)
    )
    descending = timesteps[::-1]
    assert [step.t for step in steps] == [t for _, t in calls] == descending
    assert [step.t_next for step in steps] == [*descending[1:], -1]
    np.testing.assert_array_equal(calls[0][0], x_T)  # which is not yielded
    for (x_t, _), step in zip(calls[1:], steps, strict=False):
        np.testing.assert_array_equal(x_t, step.x_t)
    end = steps[-1]  # the last prediction
    np.testing.assert_allclose(end.x_t, end.x0, rtol=1e-9, atol=0)
    noisy = variance == "ddpm_noisy" or eta > 0
    assert asked == (list(range(len(timesteps) - 1)) if noisy else [])


def test_nothing_is_called_before_it_is_needed():
    calls = []
    steps = denoise(
        lambda x, t: calls.append(t) or x, np.ones(SHAPE), [1, 5, 9], SCHEDULE, noise=no_noise
    )
    assert calls == []
    assert next(steps).t == 9
    assert calls == [9]


def test_only_ddpm_noisy_clips():
    def walk(start, variance):
        x_T = np.full(SHAPE, start)
        return list(
            denoise(
                lambda x, t: np.zeros_like(x),
                x_T,
                [490, 500],
                SCHEDULE,
                variance=variance,
                noise=lambda k: np.zeros(SHAPE),
            )
        )

    assert all(step.x0.min() > 100 for step in walk(100.0, "ddim"))
    assert all(step.x0.max() == 1 for step in walk(100.0, "ddpm_noisy"))
    assert all(step.x0.min() == -1 for step in walk(-100.0, "ddpm_noisy"))
    assert walk(100.0, "ddpm_noisy")[0].x_t.min() > 50  # the state is not clipped


def test_the_map_of_eta_zero_makes_the_right_covariance():
    """The sampler is affine here: x_0 = A x_T + b, of covariance A A^T. First order in 1/S."""
    inputs = np.concatenate([np.zeros((1, 4)), np.eye(4)]).reshape(5, 1, 2, 2)
    errors = {}
    for count in (100, 1000):
        timesteps = make_timesteps(1000, count)
        end = last(denoise(gaussian_denoiser, inputs, timesteps, SCHEDULE, noise=no_noise))
        offset, *columns = end.x_t.reshape(5, 4)
        matrix = np.array(columns) - offset
        errors[count] = np.abs(matrix.T @ matrix - COVARIANCE).max()
        # x_T ~ N(0, I) leaves out sqrt(alpha_bar_T) MEAN, and no step enlarges that.
        ignored = math.sqrt(SCHEDULE.alpha_bar_at(999)) * np.abs(MEAN).max()
        np.testing.assert_allclose(offset, MEAN, rtol=0, atol=ignored)
    assert errors[1000] < 0.005
    assert 8 < errors[100] / errors[1000] < 12


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_have_the_right_mean_and_covariance(eta):
    count = 20_000
    x_T = normal(1, Stream.INITIAL, 0, range(count), (1, 2, 2)).astype(np.float64)
    rng = np.random.default_rng(2)
    steps = denoise(
        gaussian_denoiser,
        x_T,
        make_timesteps(1000, 1000),
        SCHEDULE,
        eta=eta,
        noise=lambda k: rng.standard_normal(x_T.shape),
    )
    samples = last(steps).x_t.reshape(count, 4)
    variances = np.diag(COVARIANCE)
    # Standard errors of a mean and of a covariance of Gaussian samples; the discretisation adds
    # less than one of them (test above).
    of_mean = np.sqrt(variances / count)
    of_covariance = np.sqrt((np.outer(variances, variances) + COVARIANCE**2) / count)
    assert np.all(np.abs(samples.mean(axis=0) - MEAN) < 5 * of_mean)
    assert np.all(np.abs(np.cov(samples.T) - COVARIANCE) < 5 * of_covariance)


def angle(t: int) -> float:
    """The angle whose cosine is sqrt(alpha_bar): for white data a step turns by a difference."""
    return math.acos(math.sqrt(SCHEDULE.alpha_bar_at(t)))


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000])
def test_encoding_and_decoding_white_data_shrink_by_known_cosines(count):
    """Every step maps x to cos(angle difference) x: the formulas, to the last digits."""
    timesteps = make_timesteps(1000, count)
    x0 = np.random.default_rng(3).standard_normal(SHAPE)
    turns = math.prod(
        math.cos(angle(b) - angle(a)) for a, b in zip(timesteps, timesteps[1:], strict=False)
    )
    first = SCHEDULE.alpha_bar_at(timesteps[0])
    shrunk = (math.sqrt(first) + 1 - first) * turns  # asked at timesteps[0], on the clean image
    *_, (t, x_T) = encode(white_denoiser, x0, timesteps, SCHEDULE)
    assert t == timesteps[-1]
    np.testing.assert_allclose(x_T, shrunk * x0, rtol=1e-12, atol=0)
    decoded = last(denoise(white_denoiser, x_T, timesteps, SCHEDULE, noise=no_noise)).x_t
    expected = turns * math.cos(angle(timesteps[0]))
    np.testing.assert_allclose(decoded, expected * x_T, rtol=1e-12, atol=0)


def test_decoding_inverts_encoding_to_first_order():
    """The ODE's own solution for a Gaussian: every whitened coordinate keeps its value."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    x0 = (MEAN + np.random.default_rng(4).standard_normal((50, 4)) @ FACTOR.T).reshape(-1, 1, 2, 2)
    a = SCHEDULE.alpha_bar_at(999)
    stretch = np.sqrt((a * values + 1 - a) / values)
    coordinates = (x0.reshape(-1, 4) - MEAN) @ vectors
    exact = (coordinates * stretch) @ vectors.T + math.sqrt(a) * MEAN
    encoding, round_trip = {}, {}
    for count in (100, 1000):
        timesteps = np.linspace(0, 999, count).astype(int).tolist()
        *_, (_, x_T) = encode(gaussian_denoiser, x0, timesteps, SCHEDULE)
        back = last(denoise(gaussian_denoiser, x_T, timesteps, SCHEDULE, noise=no_noise)).x_t
        encoding[count] = np.abs(x_T.reshape(-1, 4) - exact).max()
        round_trip[count] = np.abs(back - x0).max()
    for errors, bound in ((encoding, 0.03), (round_trip, 0.03)):
        assert errors[1000] < bound
        assert 6 < errors[100] / errors[1000] < 15


def test_encoding_asks_where_the_state_stands():
    calls = []

    def predict(x, t):
        calls.append(t)
        return white_denoiser(x, t)

    made = list(encode(predict, np.ones(SHAPE), [3, 10, 400], SCHEDULE))
    assert [t for t, _ in made] == [3, 10, 400]
    assert calls == [3, 3, 10]


@pytest.mark.parametrize("eta", [-0.1, -1, float("nan"), float("inf")])
def test_an_eta_out_of_range_is_refused(eta):
    with pytest.raises(UserError, match="eta must be a number >= 0"):
        check_sampler(eta, "ddim")
    with pytest.raises(UserError, match="eta"):
        next(denoise(odd_denoiser, np.ones(SHAPE), [0], SCHEDULE, eta=eta, noise=no_noise))


@pytest.mark.parametrize("variance", ["generalized", "", "DDIM"])
def test_an_unknown_variance_is_refused(variance):
    with pytest.raises(UserError, match="variance must be one of ddim, ddpm_noisy"):
        check_sampler(0.0, variance)


def test_a_timestep_without_signal_is_refused():
    jsd = Schedule.from_config(DiffusionConfig(beta_schedule="jsd"))
    check_signal(make_timesteps(1000, 500), jsd)
    for timesteps in ([999], make_timesteps(1000, 1000)):
        with pytest.raises(UserError, match="timestep 999 keeps nothing of the image"):
            check_signal(timesteps, jsd)
        with pytest.raises(UserError, match="timestep 999"):
            next(denoise(odd_denoiser, np.ones(SHAPE), timesteps, jsd, noise=no_noise))
        with pytest.raises(UserError, match="timestep 999"):
            next(encode(odd_denoiser, np.ones(SHAPE), timesteps, jsd))


@pytest.mark.parametrize("kind", ["linear", "quad", "const", "jsd", "sigmoid"])
@pytest.mark.parametrize("variance", ["ddim", "ddpm_noisy"])
def test_every_schedule_down_to_its_smallest_betas_gives_numbers(kind, variance):
    config = DiffusionConfig(
        beta_schedule=kind, beta_start=1e-7, beta_end=1e-3, num_diffusion_timesteps=50
    )
    x = np.random.default_rng(5).standard_normal(SHAPE)
    steps = denoise(
        odd_denoiser,
        x,
        range(49),
        Schedule.from_config(config),
        eta=1.0,
        variance=variance,
        noise=lambda k: x,
    )
    assert all(np.isfinite(step.x_t).all() and np.isfinite(step.x0).all() for step in steps)
