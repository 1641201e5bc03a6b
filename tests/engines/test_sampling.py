import numpy as np
import pytest
from oracles import golden, recipe_weights

import jittor_ddim as jd
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.stopwatch import count_loads

RUNS = [
    "uniform_10_0.0", "uniform_10_0.5", "uniform_10_1.0", "uniform_50_0.0", "uniform_100_0.0",
    "quad_10_0.0", "quad_20_1.0", "ddpm_noisy_10", "ddpm_noisy_50",
]  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return golden("sampling_tiny") | {"config": golden("unet_tiny")["config"]}


@pytest.fixture(scope="module")
def unet(engine, data):
    weights = recipe_weights(parameter_shapes(data["config"]), data["salt"])
    weights["conv_out.weight"] *= np.float32(data["conv_out_weight_scale"])
    unet = engine.unet(data["config"])
    unet.load(weights)
    return unet


def assert_close(found, expected):
    error = np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max()
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    assert error <= 1e-5, error


def official_run(data, name):
    """The sequence without its repeats, and the official noise of the calls that are left.

    The official code calls the network again at a repeated timestep, with no effect but that a
    draw of noise passes; the first call at a timestep is the last of its repeats.
    """
    sequence = [int(t) for t in data[f"{name}_seq"]]
    draws = np.random.default_rng(data[f"{name}_noise_seed"]).standard_normal(
        (len(sequence), *data["x_T"].shape)
    )
    walked = sequence[::-1]
    leaves = [k for k, t in enumerate(walked) if [*walked, -1][k + 1] != t]  # and does not repeat
    noise = draws[leaves].astype(np.float32)
    return sorted(set(sequence)), noise.__getitem__


def arguments(name):
    kind, count, *eta = name.rsplit("_", 2) if name[0] in "uq" else name.rsplit("_", 1)
    if kind == "ddpm_noisy":
        return int(count), {"variance": kind}
    return int(count), {"skip": kind, "eta": float(eta[0])}


@pytest.mark.parametrize("name", RUNS)
def test_samples_equal_the_official_code(unet, data, name):
    sequence, noise = official_run(data, name)
    count, options = arguments(name)
    steps = list(jd.sample_steps(unet, data["config"], data["x_T"], count, noise=noise, **options))
    assert [step.t for step in steps] == sequence[::-1]
    assert_close(steps[-1].x_t, data[f"{name}_final"])
    if "variance" in options:
        return
    assert_close(steps[0].x0, data[f"{name}_x0hat_first"])
    states = [data["x_T"]]  # the official list, with the states that repeats would have left
    for step in steps:
        repeats = list(data[f"{name}_seq"]).count(step.t)
        states += [states[-1]] * (repeats - 1) + [step.x_t]
    assert_close(states[len(data[f"{name}_seq"]) // 2], data[f"{name}_mid"])


def test_every_golden_run_is_tested(data):
    assert {key.removesuffix("_final") for key in data if key.endswith("_final")} == set(RUNS)


def test_an_explicit_sequence_is_the_same_run(unet, data):
    sequence, _ = official_run(data, "uniform_10_0.0")
    found = jd.sample(unet, data["config"], data["x_T"], sequence)
    assert_close(found, data["uniform_10_0.0_final"])


@pytest.mark.parametrize("variance", ["ddim", "ddpm_noisy"])
def test_an_image_does_not_depend_on_its_batch(unet, data, variance):
    config, options = data["config"], {"timesteps": 5, "eta": 1.0, "variance": variance}
    whole = jd.sample(unet, config, jd.initial_noise(config, 5, range(4)), seed=5, **options)
    parts = []
    for indices in ([0], [1, 2, 3]):
        x_T = jd.initial_noise(config, 5, indices)
        parts.append(jd.sample(unet, config, x_T, seed=5, indices=indices, **options))
    assert_close(np.concatenate(parts), whole)


def test_memory_does_not_grow_with_the_number_of_steps(engine, framework):
    """Jittor keeps what has gradients; a sampler's states must have none."""
    data = golden("unet_tiny")
    unet = engine.unet(data["config"])
    x_T = data["x"]
    alive = []
    for step in jd.sample_steps(unet, data["config"], x_T, 40, eta=1.0):
        assert step.x_t.shape == x_T.shape
        alive.append(framework.count_alive())
    assert alive[-1] <= alive[4]


@pytest.mark.parametrize("sampler", jd.SAMPLERS)
def test_long_walks_need_no_other_kernels_than_short_ones(unet, data, sampler):
    """UniPC's corrected states, which no network takes, once made a kernel of each step."""

    def walk(calls):
        jd.sample(unet, data["config"], data["x_T"], calls, sampler=sampler, spacing="logsnr")
        return count_loads()

    assert walk(15) == walk(24)  # both so many that the order is not lowered at the end
