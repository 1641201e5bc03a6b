"""One rule for the arguments of all public functions, tried at each of them."""

import numpy as np
import pytest
from fake_engine import FakeEngine

import jittor_ddim as jd
from jittor_ddim import arguments
from jittor_ddim.config import load_config
from jittor_ddim.initialization import fresh_weights

CONFIG = load_config("digits.yml", {"model.ch_mult": [1], "model.attn_resolutions": []})
UNET = FakeEngine().unet(CONFIG)
X_T = jd.initial_noise(CONFIG, 3, range(2))
FEATURES = np.random.default_rng(0).normal(size=(20, 3))


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.uint64(3), np.float32(3), np.array(3.0)])
def test_whole_numbers(value):
    assert arguments.whole(value) == 3 and type(arguments.whole(value)) is int


@pytest.mark.parametrize(
    "value", [True, np.True_, 3.5, float("nan"), float("inf"), "3", None, [3], np.array([3]), 3j]
)
def test_what_is_no_whole_number(value):
    assert arguments.whole(value) is None


def test_numbers_of_any_kind_give_the_same_images():
    wanted = jd.sample(UNET, CONFIG, X_T, 10, eta=0.5, seed=7, indices=[4, 5])
    for number in (float, np.float32, np.int64):
        found = jd.sample(
            UNET, CONFIG, X_T.astype(np.float64), number(10), np.float64(0.5),
            seed=number(7), indices=np.array([4, 5], float),
        )  # fmt: skip
        assert np.array_equal(found, wanted)
    assert np.array_equal(jd.initial_noise(CONFIG, 3.0, [0.0, np.uint8(1)]), X_T)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": True}, "timesteps must be an integer, or ascending numbers, got True"),
        ({"timesteps": 10.5}, "timesteps must be an integer, .*got 10.5"),
        ({"timesteps": "10"}, "timesteps must be an integer, .*got '10'"),
        ({"timesteps": None}, "timesteps must be an integer, .*got None"),
        ({"timesteps": {1, 5}}, "timesteps must be an integer, .*got {1, 5}"),
        ({"timesteps": [True, 5]}, "timesteps must be"),
        ({"timesteps": np.ones((2, 2), int)}, r"timesteps must be .*array of shape \(2, 2\)"),
        ({"timesteps": -3}, "timesteps must be in 1 … 1000, got -3"),
        ({"eta": True}, "eta must be a number, got True"),
        ({"eta": "0.5"}, "eta must be a number, got '0.5'"),
        ({"eta": None}, "eta must be a number, got None"),
        ({"eta": float("nan")}, "eta must be a number >= 0, got nan"),
        ({"spacing": 3}, "spacing must be one of uniform, quad, .*got 3"),
        ({"timesteps": [1, 5], "spacing": "quadratic"}, "spacing must be one of"),
        ({"sampler": None}, "sampler must be one of ddim, ddpm_noisy, .*got None"),
        ({"seed": -1}, "seed must be in 0 … 18446744073709551615, got -1"),
        ({"seed": 2**64}, "seed must be in 0"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": False}, "seed must be an integer, got False"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"indices": 5}, "indices must be a sequence of integers, got 5"),
        ({"indices": [0, 0.5]}, "indices must be a sequence of integers"),
        ({"indices": [0, -1]}, "indices must be in 0 … 18446744073709551615, got -1"),
        ({"indices": [0, 2**70]}, "indices must be in 0"),
        ({"indices": "01"}, "indices must be a sequence of integers, got '01'"),
        ({"noise": X_T}, "noise must be a function"),
        ({"x_T": X_T[0]}, r"shape \(B, 1, 8, 8\), got \(1, 8, 8\)"),
        ({"x_T": X_T > 0}, r"shape \(B, 1, 8, 8\) in float32, got bool"),
        ({"x_T": None}, "in float32, got object"),
        ({"x_T": "noise"}, "in float32, got <U5"),
        ({"config": {"data": 1}}, "config must be a Config, as load_config returns it"),
        ({"unet": None}, "unet must be the network of an engine"),
    ],
)
@pytest.mark.parametrize("function", [jd.sample, jd.sample_steps])
def test_arguments_of_sampling(function, options, message):
    with pytest.raises(jd.UserError, match=message):
        function(**{"unet": UNET, "config": CONFIG, "x_T": X_T, "timesteps": 5} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": None}, "config must be a Config"),
        ({"seed": True}, "seed must be an integer, got True"),
        ({"indices": 64}, "indices must be a sequence of integers, got 64"),
        ({"indices": [-1]}, "indices must be in 0"),
    ],
)
def test_arguments_of_the_initial_noise(options, message):
    with pytest.raises(jd.UserError, match=message):
        jd.initial_noise(**{"config": CONFIG} | options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: jd.metrics.kid(f, f, subsets=0), "subsets must be >= 1, got 0"),
        (lambda f: jd.metrics.kid(f, f, subset_size=1), "subset_size must be >= 2, got 1"),
        (lambda f: jd.metrics.kid(f, f, subset_size=True), "subset_size must be an integer"),
        (lambda f: jd.metrics.kid(f, f, seed=2**32), "seed must be in 0 … 4294967295"),
        (lambda f: jd.metrics.inception_score(f, splits=0), "splits must be >= 1"),
        (lambda f: jd.metrics.inception_score(f, seed=-1), "seed must be in 0"),
        (lambda f: jd.metrics.precision_recall(f, f, neighbours=0), "neighbours must be >= 1"),
        (lambda f: jd.metrics.precision_recall(f, f, 1.5), "neighbours must be an integer"),
        (lambda f: jd.metrics.fid(f, None), "generated: expected an array .* got object"),
        (lambda f: jd.metrics.fid("real", f), "real: expected an array .* of numbers"),
        (lambda f: jd.metrics.fid(f > 0, f), "real: expected an array .* got bool"),
        (lambda f: jd.metrics.fid([[1], [1, 2]], f), "real: .*uneven rows"),
    ],
)
def test_arguments_of_the_metrics(call, message):
    with pytest.raises(jd.UserError, match=message):
        call(FEATURES)


def test_whole_floats_count_in_the_metrics():
    metrics = jd.metrics
    assert metrics.kid(FEATURES, FEATURES, 5.0, np.int64(4), 1.0) == metrics.kid(
        FEATURES, FEATURES, 5, 4, 1
    )
    assert metrics.precision_recall(FEATURES, FEATURES, 3.0) == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: jd.load_weights(None), "path must be a path, got None"),
        (lambda path: jd.load_weights(3), "path must be a path, got 3"),
        (lambda path: jd.load_weights(path, ema="no"), "ema must be True or False, got 'no'"),
        (lambda path: jd.save_weights(None, {}, CONFIG), "path must be a path, got None"),
        (lambda path: jd.save_weights(path, {}, CONFIG, None), "format must be one of native"),
        (lambda path: jd.save_weights(path, [1], CONFIG), "weights must be arrays by their"),
        (lambda path: jd.save_weights(path, {}, {}), "config must be a Config"),
        (
            lambda path: jd.save_weights(path, {n: 1.0 for n in fresh_weights(CONFIG)}, CONFIG),
            "not NumPy arrays",
        ),
        (lambda path: jd.load_engine(None), "engine must be one of jittor, pytorch, got None"),
        (lambda path: jd.load_engine("jittor", compile=1), "compile must be True or False"),
        (lambda path: fresh_weights(CONFIG, -1), "seed must be in 0"),
    ],
)
def test_arguments_of_the_other_functions(call, message, tmp_path):
    with pytest.raises(jd.UserError, match=message):
        call(tmp_path / "w.safetensors")
    assert not any(tmp_path.iterdir())
