"""The samplers with denoisers that are known in closed form, so that the result is too."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import golden

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.parametrization import diffuse, training_target
from jittor_ddim.diffusion.samplers import SAMPLERS, model_of, multistep, register, walk
from jittor_ddim.diffusion.samplers.step import Step
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import make_timesteps
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


def encode(predict, x0, timesteps, schedule, order=1):
    return multistep.encode(model_of(predict, schedule), x0, timesteps, schedule, order)


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
@pytest.mark.parametrize(("count", "spacing"), [(1, "uniform"), (10, "uniform"), (50, "quad")])
def test_ddim_walks_as_the_official_code(eta, count, spacing):
    rng = np.random.default_rng(0)
    timesteps = make_timesteps(SCHEDULE, count, spacing)
    x, noise = rng.standard_normal(SHAPE), rng.standard_normal((count, *SHAPE))
    states, predictions = official(x, timesteps, odd_denoiser, eta, noise)
    steps = list(
        walk("ddim", odd_denoiser, x, timesteps, SCHEDULE, eta=eta, noise=noise.__getitem__)
    )
    np.testing.assert_allclose([s.x_t for s in steps], states, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose([s.x0 for s in steps], predictions, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [1, 10, 50])
def test_ddpm_noisy_walks_as_the_official_code(count):
    rng = np.random.default_rng(1)
    timesteps = make_timesteps(SCHEDULE, count)
    x, noise = rng.standard_normal(SHAPE), rng.standard_normal((count, *SHAPE))
    states, predictions = official_ddpm(x, timesteps, odd_denoiser, noise)
    steps = list(walk("ddpm_noisy", odd_denoiser, x, timesteps, SCHEDULE, noise=noise.__getitem__))
    np.testing.assert_allclose([s.x_t for s in steps], states, rtol=0, atol=1e-10)
    np.testing.assert_allclose([s.x0 for s in steps], predictions, rtol=0, atol=1e-10)


@settings(deadline=None)
@given(
    timesteps=st.lists(st.integers(0, 999), min_size=1, max_size=8, unique=True).map(sorted),
    eta=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    sampler=st.sampled_from(["ddim", "ddpm_noisy"]),
)
def test_what_a_step_says(timesteps, eta, sampler):
    calls, asked = [], []

    def predict(x, t):
        calls.append((x.copy(), t))
        return odd_denoiser(x, t)

    def noise(k):
        asked.append(k)
        return np.full(SHAPE, float(k))

    x_T = np.random.default_rng(2).standard_normal(SHAPE)
    steps = list(walk(sampler, predict, x_T, timesteps, SCHEDULE, eta=eta, noise=noise))
    descending = timesteps[::-1]
    assert [step.t for step in steps] == [t for _, t in calls] == descending
    assert [step.t_next for step in steps] == [*descending[1:], -1]
    np.testing.assert_array_equal(calls[0][0], x_T)  # which is not yielded
    for (x_t, _), step in zip(calls[1:], steps, strict=False):
        np.testing.assert_array_equal(x_t, step.x_t)
    end = steps[-1]  # the last prediction
    np.testing.assert_allclose(end.x_t, end.x0, rtol=1e-9, atol=0)
    noisy = sampler == "ddpm_noisy" or eta > 0
    assert asked == (list(range(len(timesteps) - 1)) if noisy else [])


def test_nothing_is_called_before_it_is_needed():
    calls = []
    steps = walk("ddim", lambda x, t: calls.append(t) or x, np.ones(SHAPE), [1, 5, 9], SCHEDULE)
    assert calls == []
    assert next(steps).t == 9
    assert calls == [9]


def test_only_ddpm_noisy_clips():
    def run(start, sampler):
        x_T, zero = np.full(SHAPE, start), np.zeros(SHAPE)
        return list(
            walk(sampler, lambda x, t: zero, x_T, [490, 500], SCHEDULE, noise=lambda k: zero)
        )

    assert all(step.x0.min() > 100 for step in run(100.0, "ddim"))
    assert all(step.x0.max() == 1 for step in run(100.0, "ddpm_noisy"))
    assert all(step.x0.min() == -1 for step in run(-100.0, "ddpm_noisy"))
    assert run(100.0, "ddpm_noisy")[0].x_t.min() > 50  # the state is not clipped


def test_arrays_that_clamp_are_clipped_too():
    class Clamping(np.ndarray):
        clip = property()  # hasattr: False, as in Jittor

        def clamp(self, low, high):
            return np.minimum(np.maximum(self, low), high)

    x_T = np.full(SHAPE, 9.0).view(Clamping)
    assert last(walk("ddpm_noisy", odd_denoiser, x_T, [500], SCHEDULE)).x0.max() == 1


def test_the_map_of_eta_zero_makes_the_right_covariance():
    """The sampler is affine here: x_0 = A x_T + b, of covariance A A^T. First order in 1/S."""
    inputs = np.concatenate([np.zeros((1, 4)), np.eye(4)]).reshape(5, 1, 2, 2)
    errors = {}
    for count in (100, 1000):
        timesteps = make_timesteps(SCHEDULE, count)
        end = last(walk("ddim", gaussian_denoiser, inputs, timesteps, SCHEDULE))
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
    steps = walk(
        "ddim",
        gaussian_denoiser,
        x_T,
        make_timesteps(SCHEDULE, 1000),
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
    timesteps = make_timesteps(SCHEDULE, count)
    x0 = np.random.default_rng(3).standard_normal(SHAPE)
    turns = math.prod(
        math.cos(angle(b) - angle(a)) for a, b in zip(timesteps, timesteps[1:], strict=False)
    )
    first = SCHEDULE.alpha_bar_at(timesteps[0])
    shrunk = (math.sqrt(first) + 1 - first) * turns  # asked at timesteps[0], on the clean image
    *_, (t, x_T) = encode(white_denoiser, x0, timesteps, SCHEDULE)
    assert t == timesteps[-1]
    np.testing.assert_allclose(x_T, shrunk * x0, rtol=1e-12, atol=0)
    decoded = last(walk("ddim", white_denoiser, x_T, timesteps, SCHEDULE)).x_t
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
        back = last(walk("ddim", gaussian_denoiser, x_T, timesteps, SCHEDULE)).x_t
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({"eta": eta}, "eta must be a number >= 0") for eta in (-0.1, -1, math.nan, math.inf)),
        ({"eta": "1"}, "eta must be a number"),
        *(
            ({"sampler": name}, "sampler must be one of ddim, ddpm_noisy")
            for name in ("generalized", "", "DDIM", None)
        ),
        ({"prediction": "epsilon"}, "prediction must be one of eps, x0, v"),
        ({"timesteps": []}, "the sequence is empty"),
        ({"timesteps": [5, 3]}, "strictly ascending"),
        ({"timesteps": [0, 1000]}, "leaves the range"),
    ],
)
def test_arguments_out_of_range_are_refused_at_once(changed, message):
    arguments = {
        "sampler": "ddim", "predict": odd_denoiser, "x_T": np.ones(SHAPE), "timesteps": [0],
        "schedule": SCHEDULE,
    }  # fmt: skip
    with pytest.raises(UserError, match=message):
        walk(**arguments | changed)


def test_a_sampler_that_adds_noise_needs_some():
    steps = walk("ddim", odd_denoiser, np.ones(SHAPE), [3, 5], SCHEDULE, eta=0.5)
    with pytest.raises(UserError, match="adds noise after network call 0: give noise"):
        next(steps)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm_noisy"])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_network_may_predict_something_else(sampler, prediction):
    """The same denoiser, asked for its x0 or v: the same walk."""

    def answer(x, t):
        a, eps = SCHEDULE.alpha_bar_at(t), odd_denoiser(x, t)
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        return training_target(prediction, x0, eps, a)

    rng = np.random.default_rng(6)
    x_T, noise = rng.standard_normal(SHAPE), rng.standard_normal((20, *SHAPE))
    arguments = {"x_T": x_T, "timesteps": range(40, 1000, 48), "schedule": SCHEDULE}
    arguments |= {"eta": 0.5, "noise": noise.__getitem__}
    wanted = walk(sampler, odd_denoiser, **arguments)
    found = walk(sampler, answer, **arguments, prediction=prediction)
    for step, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(step.x_t, expected.x_t, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(step.x0, expected.x0, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["linear", "quad", "const", "jsd", "sigmoid"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm_noisy"])
def test_every_schedule_down_to_its_smallest_betas_gives_numbers(kind, sampler):
    config = DiffusionConfig(
        beta_schedule=kind, beta_start=1e-7, beta_end=1e-3, num_diffusion_timesteps=50
    )
    x = np.random.default_rng(5).standard_normal(SHAPE)
    schedule = Schedule.from_config(config)
    steps = walk(sampler, odd_denoiser, x, range(49), schedule, eta=1.0, noise=lambda k: x)
    assert all(np.isfinite(step.x_t).all() and np.isfinite(step.x0).all() for step in steps)


# One step of a sampler, against the formulas that it must agree with


BETAS = golden("beta_schedules")["linear"]
ALPHA_BARS = np.cumprod(1 - BETAS)
#: alpha_bar of a timestep and of the one that a step leads to.
PAIRS = st.tuples(st.floats(1e-4, 0.9999), st.floats(1e-4, 0.9999)).map(sorted)


def one_step(sampler, x_t, eps, a, a_next, **options):
    """The state after the step from alpha_bar = a to a_next, the schedule's last step if 1."""
    alpha_bar = np.array([a] if a_next == 1 else [a_next, a])
    schedule = Schedule(1 - alpha_bar, alpha_bar)
    steps = walk(sampler, lambda x, t: eps, x_t, range(len(alpha_bar)), schedule, **options)
    return next(steps).x_t


def draw(dtype=float):
    """x0, eps and noise."""
    return np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(dtype)


def posterior(x_t, x0, t, t_prev):
    """Mean and variance of q(x_prev | x_t, x0): Ho et al. 2020, eq. 7, for any two timesteps."""
    a = ALPHA_BARS[t]
    a_prev = ALPHA_BARS[t_prev] if t_prev >= 0 else 1.0
    beta = BETAS[t] if t_prev == t - 1 else 1 - a / a_prev
    mean = (
        math.sqrt(a_prev) * beta / (1 - a) * x0
        + math.sqrt(1 - beta) * (1 - a_prev) / (1 - a) * x_t
    )
    return mean, (1 - a_prev) / (1 - a) * beta, 1 - a / a_prev


@pytest.mark.parametrize("gap", [1, 10, 333])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm_noisy"])
def test_both_are_ancestral_steps_of_ddpm(sampler, gap):
    """``ddim`` at eta = 1 with the posterior's variance, ``ddpm_noisy`` with the larger one."""
    x0, eps, noise = draw()
    x0 = np.clip(x0, -1, 1)
    for t in range(gap - 1, 1000, gap):
        a, a_next = ALPHA_BARS[t], ALPHA_BARS[t - gap] if t >= gap else 1.0
        x_t = diffuse(x0, eps, a)
        mean, variance, larger = posterior(x_t, x0, t, t - gap)
        assert larger >= variance
        if sampler == "ddpm_noisy":
            variance = larger if t >= gap else 0.0
        # x0 is predicted from eps, and its error is that of float64 divided by sqrt(alpha_bar).
        step = one_step(sampler, x_t, eps, a, a_next, eta=1.0, noise=lambda k: noise)
        np.testing.assert_allclose(step, mean + math.sqrt(variance) * noise, rtol=0, atol=1e-11)


@given(PAIRS, st.floats(0, 1))
def test_every_eta_keeps_the_marginal(pair, eta):
    """Lemma 1 of the paper: x_next ~ N(sqrt(a_next) x0, (1 - a_next) I) for every sigma."""
    a, a_next = pair
    zero, one = np.zeros(1), np.ones(1)

    def step(x0, eps, noise):
        x_t = diffuse(x0, eps, a)
        return one_step("ddim", x_t, eps, a, a_next, eta=eta, noise=lambda k: noise)

    of_x0, of_eps, of_noise = step(one, zero, zero), step(zero, one, zero), step(zero, zero, one)
    sigma = eta * math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
    assert of_x0 == pytest.approx(math.sqrt(a_next), abs=1e-12)
    assert of_eps**2 + of_noise**2 == pytest.approx(1 - a_next, abs=1e-12)
    assert of_noise == pytest.approx(sigma, abs=1e-12)


@given(PAIRS)
def test_encoding_undoes_a_step_of_eta_zero(pair):
    a, a_next = pair
    x0, eps, _ = draw()
    x_t = diffuse(x0, eps, a)
    step = one_step("ddim", x_t, eps, a, a_next)
    schedule = Schedule(np.zeros(2), np.array([a_next, a]))
    states = encode(lambda x, t: eps, x0, [0, 1], schedule)
    for (_, state), expected in zip(states, (step, x_t), strict=True):
        np.testing.assert_allclose(state, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0])
def test_the_last_step_returns_the_prediction(eta):
    x0, eps, _ = draw()
    x_t = diffuse(x0, eps, 0.9999)
    np.testing.assert_allclose(one_step("ddim", x_t, eps, 0.9999, 1.0, eta=eta), x0, atol=1e-12)


def test_an_eta_beyond_the_variance_drops_the_direction():
    x0, eps, noise = draw()
    x_t = diffuse(x0, eps, 0.5)
    step = one_step("ddim", x_t, eps, 0.5, 0.6, eta=10.0, noise=lambda k: noise)
    sigma = 10 * math.sqrt(0.4 / 0.5 * (1 - 0.5 / 0.6))
    np.testing.assert_allclose(step, math.sqrt(0.6) * x0 + sigma * noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm_noisy"])
def test_float32_stays_float32(sampler, prediction):
    x_T, output, noise = draw(np.float32)
    steps = walk(
        sampler, lambda x, t: output, x_T, [0, 500], SCHEDULE, eta=0.5, prediction=prediction,
        noise=lambda k: noise,
    )  # fmt: skip
    for step in steps:
        assert step.x_t.dtype == step.x0.dtype == np.float32
    assert all(x.dtype == np.float32 for _, x in encode(lambda x, t: output, x_T, [3], SCHEDULE))


# Samplers of one's own


@pytest.fixture
def table(monkeypatch):
    """The table of samplers, restored after the test."""
    monkeypatch.setattr("jittor_ddim.diffusion.samplers.SAMPLERS", SAMPLERS.copy())


def plain(model, x_t, timesteps, schedule):
    """Jump to the prediction at every step."""
    for t, t_next, _, _ in schedule.descend(timesteps):
        x_t, _ = model(x_t, t)
        yield Step(t, t_next, x_t, x_t)


@pytest.mark.parametrize("name", ["ddim", "two words", "", "../x", None, 3])
def test_names_that_are_taken_or_unusable_are_refused(name, table):
    with pytest.raises(UserError, match=f"sampler name {name!r} is taken or not an identifier"):
        register(name, plain)
