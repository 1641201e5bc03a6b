import json

import numpy as np
import pytest
from fake_engine import FakeEngine, affine

import jittor_ddim as jd
from jittor_ddim.config import parse_config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.noise import Stream, normal
from jittor_ddim.diffusion.parametrization import training_target
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.errors import UserError
from jittor_ddim.sampling import (
    SamplerSettings,
    interpolate,
    reconstruct,
    sample_images,
    trajectory,
)

CONFIG = parse_config(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
            "num_res_blocks": 1,
            "attn_resolutions": [],
        },
        "diffusion": {"num_diffusion_timesteps": 100, "beta_end": 0.1},
    },
    "test",
)  # fmt: skip
ALPHA_BAR = Schedule.from_config(CONFIG.diffusion).alpha_bar
MEAN, DEVIATION = 0.3, 0.4


def gaussian(_, x_t, t):
    """The exact noise prediction where every pixel is N(MEAN, DEVIATION^2) on its own."""
    a = ALPHA_BAR[np.asarray(t, int)].reshape(-1, 1, 1, 1)
    return (1 - a) ** 0.5 * (x_t - a**0.5 * MEAN) / (a * DEVIATION**2 + 1 - a)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def unet(engine):
    return engine.unet(CONFIG)


@pytest.fixture
def x_T():
    return jd.initial_noise(CONFIG, seed=3, indices=range(4))


def test_initial_noise_of_a_sample_follows_from_seed_and_index():
    whole = jd.initial_noise(CONFIG, 1234, range(6))
    assert (whole.shape, whole.dtype) == ((6, 1, 8, 8), np.float32)
    assert np.array_equal(jd.initial_noise(CONFIG, indices=[5, 2]), whole[[5, 2]])
    assert not np.array_equal(jd.initial_noise(CONFIG, 1, range(6)), whole)
    assert jd.initial_noise(CONFIG).shape == (64, 1, 8, 8)


def test_steps_are_those_of_the_paper(unet, x_T):
    """Each against eq. 12, written out again in float64, for an eta between the samplers."""
    eta, state, seed = 0.7, x_T.astype(np.float64), 21
    steps = list(jd.sample_steps(unet, CONFIG, x_T, 5, eta=eta, seed=seed))
    assert [(step.t, step.t_next) for step in steps] == [
        (80, 60), (60, 40), (40, 20), (20, 0), (0, -1)
    ]  # fmt: skip
    for k, step in enumerate(steps):
        a = np.float64(ALPHA_BAR[step.t])
        a_next = np.float64(ALPHA_BAR[step.t_next]) if step.t_next >= 0 else 1.0
        eps = affine(unet.weights(), state, np.full(4, step.t))
        x0 = (state - np.sqrt(1 - a) * eps) / np.sqrt(a)
        sigma = eta * np.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
        noise = normal(seed, Stream.SAMPLING, k, range(4), (1, 8, 8))
        state = np.sqrt(a_next) * x0 + np.sqrt(1 - a_next - sigma**2) * eps + sigma * noise
        for found, expected in ((step.x0, x0), (step.x_t, state)):
            assert (found.shape, found.dtype) == (x_T.shape, np.float32)
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.array_equal(steps[-1].x_t, jd.sample(unet, CONFIG, x_T, 5, eta=eta, seed=seed))


def test_the_network_is_called_once_a_step_for_the_whole_batch(engine, unet, x_T):
    jd.sample(unet, CONFIG, x_T, 4)
    assert engine.calls == [(4, 75), (4, 50), (4, 25), (4, 0)]


def test_steps_are_made_as_they_are_asked_for(engine, unet, x_T):
    steps = jd.sample_steps(unet, CONFIG, x_T, 50)
    next(steps)
    assert len(engine.calls) == 1


def test_x_T_is_left_alone(unet, x_T):
    before = x_T.copy()
    jd.sample(unet, CONFIG, x_T, 10, eta=1.0)
    assert np.array_equal(x_T, before)


def test_an_explicit_sequence(unet, x_T):
    steps = list(jd.sample_steps(unet, CONFIG, x_T, [3, 17, 99]))
    assert [(step.t, step.t_next) for step in steps] == [(99, 17), (17, 3), (3, -1)]
    uniform = jd.sample(unet, CONFIG, x_T, 10)
    for sequence in (range(0, 100, 10), np.arange(0, 100, 10), tuple(range(0, 100, 10))):
        assert np.array_equal(jd.sample(unet, CONFIG, x_T, sequence), uniform)
    assert np.array_equal(jd.sample(unet, CONFIG, x_T, np.int64(10)), uniform)


@pytest.mark.parametrize(
    "sequence, message",
    [
        ([], "empty"),
        ([5, 3], "ascending"),
        ([3, 3], "ascending"),
        ([0, 100], "0 … 99"),
        ([-1, 5], "0 … 99"),
        ([0.5, None], "numbers"),
        (0, r"1 … 100, got 0"),
        (101, r"1 … 100, got 101"),
    ],
)
def test_timesteps_out_of_range(unet, x_T, sequence, message):
    with pytest.raises(UserError, match=message):
        jd.sample(unet, CONFIG, x_T, sequence)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"eta": -0.1}, "eta"),
        ({"eta": float("nan")}, "eta"),
        ({"eta": float("inf")}, "eta"),
        ({"spacing": "quadratic"}, "spacing must be one of uniform, quad, .*got 'quadratic'"),
        ({"sampler": "large"}, "sampler must be one of ddim, ddpm_noisy, .*got 'large'"),
        ({"skip": "quadratic"}, "spacing must be one of uniform, quad"),
        ({"skip": "quad", "spacing": "uniform"}, "spacing and skip are the same argument"),
        ({"variance": "ddim", "sampler": "ddim"}, "sampler and variance are the same"),
        ({"indices": [0, 1]}, "indices: got 2, but x_T has 4 samples"),
    ],
)
def test_options_out_of_range(unet, x_T, options, message):
    with pytest.raises(UserError, match=message):
        jd.sample(unet, CONFIG, x_T, 5, **options)


@pytest.mark.parametrize("shape", [(4, 1, 8, 9), (4, 3, 8, 8), (1, 8, 8), (0, 1, 8, 8)])
def test_images_of_another_shape(unet, shape):
    with pytest.raises(UserError, match=r"\(B, 1, 8, 8\)"):
        jd.sample(unet, CONFIG, np.zeros(shape, np.float32), 5)


def test_quad_is_one_call_a_distinct_timestep(engine, unet, x_T, caplog):
    with caplog.at_level("INFO", "jittor_ddim"):
        jd.sample(unet, CONFIG, x_T, 50, spacing="quad")
    expected = sorted({int(v**2) for v in np.linspace(0, 80**0.5, 50)})
    assert [t for _, t in engine.calls] == expected[::-1]
    count = len(expected)
    assert count < 50
    assert f"quad spacing: {count} network calls, {count} steps" in caplog.text


def test_the_official_names_mean_the_same(unet, x_T):
    wanted = jd.sample(unet, CONFIG, x_T, 10, spacing="quad", sampler="ddpm_noisy")
    official = {"skip": "quad", "variance": "ddpm_noisy"}
    assert np.array_equal(jd.sample(unet, CONFIG, x_T, 10, **official), wanted)
    *_, end = jd.sample_steps(unet, CONFIG, x_T, 10, **official)
    assert np.array_equal(end.x_t, wanted)
    assert np.array_equal(jd.sample(unet, CONFIG, x_T, 10, 0.0, "quad", "ddpm_noisy"), wanted)


def test_settings_are_recorded_by_their_official_names():
    settings = SamplerSettings(np.int64(5), 1, spacing="quad", sampler="ddpm_noisy", seed=3.0)
    assert json.dumps(settings.recipe()) == (
        '{"timesteps": 5, "eta": 1.0, "skip": "quad", "variance": "ddpm_noisy", "seed": 3}'
    )


def test_noise_is_an_argument(unet, x_T):
    """Asked for by the number of the model call, where a step adds noise: not at the last."""
    asked = []

    def noise(k):
        asked.append(k)
        return normal(7, Stream.SAMPLING, k, range(4), (1, 8, 8))

    own = jd.sample(unet, CONFIG, x_T, 5, eta=1.0, noise=noise)
    assert asked == [0, 1, 2, 3]
    assert np.array_equal(own, jd.sample(unet, CONFIG, x_T, 5, eta=1.0, seed=7))
    asked.clear()
    jd.sample(unet, CONFIG, x_T, 5, noise=noise)
    assert asked == []
    jd.sample(unet, CONFIG, x_T, 5, sampler="ddpm_noisy", noise=noise)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"eta": 1.0}, {"sampler": "ddpm_noisy"}])
def test_an_image_depends_on_its_index_and_not_on_its_batch(unet, options):
    def images(indices):
        x_T = jd.initial_noise(CONFIG, 5, indices)
        return jd.sample(unet, CONFIG, x_T, 6, seed=5, indices=indices, **options)

    whole = images(range(5))
    assert np.array_equal(images([3, 1]), whole[[3, 1]])
    settings = SamplerSettings(
        6, options.get("eta", 0.0), "uniform", options.get("sampler", "ddim"), 5
    )
    expected = to_uint8(from_network(whole, CONFIG.data))
    for batch_size in (1, 2, 5, 64):
        found = list(sample_images(unet, CONFIG, settings, range(5), batch_size))
        assert np.array_equal(np.stack(found), expected)


def test_only_ddpm_noisy_clips_x0(unet, x_T):
    def largest_x0(**options):
        return max(np.abs(s.x0).max() for s in jd.sample_steps(unet, CONFIG, x_T, 5, **options))

    assert largest_x0() > 1.5
    assert largest_x0(sampler="ddpm_noisy") == 1


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_exact_network_samples_the_distribution(eta):
    """Every step is affine, so mean and variance can be followed through it analytically."""
    unet = FakeEngine(denoiser=gaussian).unet(CONFIG)
    x_T = jd.initial_noise(CONFIG, 0, range(300))
    pixels = jd.sample(unet, CONFIG, x_T, 100, eta=eta, seed=0)
    mean, variance = 0.0, 1.0
    for t in reversed(range(100)):
        a = float(ALPHA_BAR[t])
        a_next = float(ALPHA_BAR[t - 1]) if t else 1.0
        sigma2 = eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)
        slope = (1 - a) ** 0.5 / (a * DEVIATION**2 + 1 - a)  # of eps in x_t
        of_eps = (1 - a_next - sigma2) ** 0.5 - (a_next * (1 - a) / a) ** 0.5
        factor = (a_next / a) ** 0.5 + of_eps * slope
        mean = factor * mean - of_eps * slope * a**0.5 * MEAN
        variance = factor**2 * variance + sigma2
    # 19,200 independent pixels: standard errors of 0.003 and 0.002.
    assert abs(pixels.mean() - mean) < 0.01
    assert abs(pixels.std() - variance**0.5) < 0.008
    # What 100 steps, and the x_T that alpha_bar_T = 0.006 leaves, are away from the truth.
    assert abs(mean - MEAN) < 0.02
    assert abs(variance**0.5 - DEVIATION) < 0.03


def test_trajectory_keeps_what_was_asked_for(unet):
    settings = SamplerSettings(timesteps=4, eta=0.5, seed=8)
    x_T = jd.initial_noise(CONFIG, 8, range(3))
    steps = list(jd.sample_steps(unet, CONFIG, x_T, 4, eta=0.5, seed=8))

    def pixels(x):
        return to_uint8(from_network(x, CONFIG.data))

    found = list(trajectory(unet, CONFIG, settings, 3, {0, 2, 4}))
    expected = [x_T, steps[1].x_t, steps[3].x_t]
    assert all(np.array_equal(a, pixels(b)) for a, b in zip(found, expected, strict=True))
    found = list(trajectory(unet, CONFIG, settings, 3, {1, 3, 4}, predicted_x0=True))
    expected = [steps[0].x0, steps[2].x0, steps[3].x0]
    assert all(np.array_equal(a, pixels(b)) for a, b in zip(found, expected, strict=True))


def test_interpolation_begins_and_ends_with_samples(unet):
    settings = SamplerSettings(timesteps=4, seed=8)
    images = interpolate(unet, CONFIG, settings, 5)
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    ends = np.stack(list(sample_images(unet, CONFIG, settings, range(2), 2)))
    assert np.abs(images[[0, 4]].astype(int) - ends).max() <= 1


def test_encoding_inverts_decoding_better_with_more_steps():
    """The error of Euler's method falls with S, its square with the square of S."""
    unet = FakeEngine(denoiser=gaussian).unet(CONFIG)
    rng = np.random.default_rng(4)
    x0 = (MEAN + DEVIATION * rng.standard_normal((6, 1, 8, 8))).astype(np.float32)
    errors = []
    for count in (10, 25, 50, 100):
        x_T, back = reconstruct(unet, CONFIG, x0, SamplerSettings(count))
        errors.append(float(np.mean((back - x0) ** 2)))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]
    assert abs(x_T.mean()) < 0.15 and abs(x_T.std() - 1) < 0.1  # what it encodes to is noise
    with pytest.raises(UserError, match="got 0"):
        reconstruct(unet, CONFIG, x0, SamplerSettings(0))
    with pytest.raises(UserError, match=r"\(B, 1, 8, 8\)"):
        reconstruct(unet, CONFIG, x0[0], SamplerSettings(10))


def answering(prediction, config):
    """The network of `gaussian`, which answers with another prediction."""
    alpha_bar = Schedule.from_config(config.diffusion).alpha_bar

    def denoiser(_, x_t, t):
        a = alpha_bar[np.asarray(t, int)].reshape(-1, 1, 1, 1).astype(np.float64)
        total = a * DEVIATION**2 + 1 - a
        x0 = MEAN + a**0.5 * DEVIATION**2 / total * (x_t - a**0.5 * MEAN)
        eps = (1 - a) ** 0.5 * (x_t - a**0.5 * MEAN) / total
        return training_target(prediction, x0, eps, a).astype(np.float32)

    return FakeEngine(denoiser=denoiser).unet(config)


def predicting(prediction, **keys):
    diffusion = CONFIG.diffusion.model_copy(update={"prediction": prediction, **keys})
    return CONFIG.model_copy(update={"diffusion": diffusion})


@pytest.mark.parametrize("sampler", [{}, {"eta": 1.0}, {"sampler": "ddpm_noisy"}])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_what_a_network_predicts_does_not_show_in_samples(x_T, prediction, sampler):
    expected = jd.sample(answering("eps", CONFIG), CONFIG, x_T, 10, **sampler)
    config = predicting(prediction)
    found = jd.sample(answering(prediction, config), config, x_T, 10, **sampler)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_what_a_network_predicts_does_not_show_in_reconstructions(x_T, prediction):
    config = predicting(prediction)
    expected = reconstruct(answering("eps", CONFIG), CONFIG, 0.3 * x_T, SamplerSettings(10))
    found = reconstruct(answering(prediction, config), config, 0.3 * x_T, SamplerSettings(10))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampler", [{}, {"eta": 1.0}, {"sampler": "ddpm_noisy"}])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_sampling_begins_where_nothing_of_the_image_is_left(prediction, sampler):
    """At t = T-1 the best image is the mean, whatever x_T is; in the end the distribution."""
    config = predicting(prediction, zero_terminal_snr=True)
    unet = answering(prediction, config)
    x_T = jd.initial_noise(config, indices=range(64))
    steps = list(jd.sample_steps(unet, config, x_T, range(9, 100, 10), **sampler))
    assert steps[0].t == 99
    np.testing.assert_allclose(steps[0].x0, MEAN, atol=1e-6)
    assert abs(steps[-1].x_t.mean() - MEAN) < 0.03
    assert 0.5 * DEVIATION < steps[-1].x_t.std() < 1.2 * DEVIATION


def test_such_a_schedule_is_sampled_from_its_end_unless_something_else_is_asked_for(engine):
    config = predicting("v", zero_terminal_snr=True)
    x_T = jd.initial_noise(config, indices=range(2))
    asked = {}
    for spacing in (None, "trailing", "uniform"):
        engine.calls.clear()
        jd.sample(engine.unet(config), config, x_T, 5, spacing=spacing)
        asked[spacing] = [t for _, t in engine.calls]
    assert asked[None] == asked["trailing"] == [99, 79, 59, 39, 19]
    assert asked["uniform"] == [80, 60, 40, 20, 0]
    for settings, skip in ((SamplerSettings(5), "trailing"), (SamplerSettings((1, 9)), "uniform")):
        assert settings.settled(config.diffusion).recipe()["skip"] == skip
        assert settings.settled(CONFIG.diffusion).recipe()["skip"] == "uniform"


def test_encoding_asks_the_network_where_the_state_stands(engine, unet, x_T):
    """But for the clean image, which stands before the first timestep and is asked for there."""
    reconstruct(unet, CONFIG, x_T, SamplerSettings(4))
    assert [t for _, t in engine.calls] == [0, 0, 25, 50] + [75, 50, 25, 0]


def broken(at, value, row=2):
    """A network whose output has one number that is not finite, for one image, at one timestep."""

    def denoiser(weights, x_t, t):
        eps = affine(weights, x_t, t)
        if t[0] == at:
            eps[row, 0, 3, 4] = value
        return eps

    return FakeEngine(denoiser=denoiser)


@pytest.mark.parametrize("options", [{}, {"eta": 1.0}, {"sampler": "ddpm_noisy"}])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [80, 40, 0])
def test_the_first_output_that_is_not_finite_ends_it(x_T, options, value, at):
    """Also where the sampler clips: then x_0 would be finite, and nothing would show it."""
    engine = broken(at, value)
    unet = engine.unet(CONFIG)
    message = f"output is not finite at timestep {at}, first for sample 7"
    with pytest.raises(UserError, match=message):
        jd.sample(unet, CONFIG, x_T, 5, indices=[5, 6, 7, 8], **options)
    assert engine.calls[-1] == (4, at)  # and no call after it
    steps = jd.sample_steps(unet, CONFIG, x_T, 5, indices=[5, 6, 7, 8], **options)
    for _ in range((80 - at) // 20):
        next(steps)
    with pytest.raises(UserError, match=message):
        next(steps)


def test_no_picture_is_made_of_what_is_not_finite(x_T):
    engine = broken(20, np.nan, row=0)
    unet, settings = engine.unet(CONFIG), SamplerSettings(5)
    found = trajectory(unet, CONFIG, settings, 2, {0, 1, 2, 3, 4, 5})
    assert [next(found).shape for _ in range(4)] == [(2, 8, 8, 1)] * 4  # those before it
    for make in (
        lambda: next(found),
        lambda: next(sample_images(unet, CONFIG, settings, range(3), 3)),
        lambda: interpolate(unet, CONFIG, settings, 3),
        lambda: reconstruct(unet, CONFIG, x_T, SamplerSettings(5)),
    ):
        with pytest.raises(UserError, match="not finite at timestep 20, first for sample 0"):
            make()


def test_finite_outputs_that_overflow_are_found_at_their_step(x_T):
    unet = FakeEngine(denoiser=lambda weights, x_t, t: np.full_like(x_t, -3e38)).unet(CONFIG)
    with np.errstate(over="ignore"), pytest.raises(UserError, match="after timestep 80"):
        list(jd.sample_steps(unet, CONFIG, x_T, 5))
    with np.errstate(all="ignore"), pytest.raises(UserError, match="after timestep 99"):
        jd.sample(unet, CONFIG, x_T, [99])


def test_arguments_that_are_not_finite(unet, engine, x_T):
    x_T[3, 0, 1, 1] = np.nan
    with pytest.raises(UserError, match="image 3 of the batch"):
        jd.sample(unet, CONFIG, x_T, 5)
    with pytest.raises(UserError, match="image 3 of the batch"):
        reconstruct(unet, CONFIG, x_T, SamplerSettings(5))
    assert engine.calls == []
    steps = jd.sample_steps(
        unet, CONFIG, np.zeros_like(x_T), 5, eta=1.0,
        noise=lambda k: np.full_like(x_T, np.nan if k == 1 else 0),
    )  # fmt: skip
    assert next(steps).t == 80
    with pytest.raises(UserError, match="image 0 .* after timestep 60: .* the noise is not"):
        next(steps)
