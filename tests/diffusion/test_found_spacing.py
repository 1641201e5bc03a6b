"""Timesteps found for a network."""

import json
from itertools import combinations

import numpy as np
import pytest
from test_solvers import SCHEDULE, X_T, distance, last, predict

from jittor_ddim.config import Config, parse_config
from jittor_ddim.diffusion.found_spacing import (
    Found,
    choose,
    fine_timesteps,
    local_errors,
    read_found,
    write_found,
)
from jittor_ddim.diffusion.samplers import model_of, walk
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.diffusion.spacing import SPACINGS, make_timesteps
from jittor_ddim.errors import UserError


def cost(errors, path, weight):
    """Of a path, by the formula: each step counts more than the one before."""
    steps = zip(path, [*path[1:], len(errors)], strict=True)
    return sum(weight**k * errors[i, j] for k, (i, j) in enumerate(steps))


@pytest.mark.parametrize("weight", [1.0, 1.15])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_the_path_is_the_cheapest_of_all(count, weight):
    errors = np.random.default_rng(count).uniform(size=(7, 8))
    errors[np.arange(7)[:, None] >= np.arange(8)] = np.inf
    every = [(0, *rest) for rest in combinations(range(1, 7), count - 1)]
    cheapest = min(every, key=lambda path: cost(errors, path, weight))
    assert tuple(choose(errors, count, weight)) == cheapest


def test_a_local_error_is_that_of_one_step_of_ddim():
    timesteps = [0, 100, 400, 999]
    model = model_of(predict, SCHEDULE)
    errors, end = local_errors(model, X_T, timesteps, SCHEDULE)
    assert errors.shape == (4, 5)
    assert np.isinf(errors[np.arange(4)[:, None] >= np.arange(5)]).all()
    fine = [step.x_t for step in walk("dpmpp_2m", predict, X_T, timesteps, SCHEDULE)]
    assert np.array_equal(end, fine[-1])
    long_step = next(walk("ddim", predict, X_T, [100, 999], SCHEDULE)).x_t
    miss = (long_step - fine[1]).reshape(len(X_T), -1)
    alpha = SCHEDULE.alpha_bar_at(100) ** 0.5
    assert errors[0, 2] == pytest.approx(np.linalg.norm(miss, axis=1).mean() / alpha)
    assert errors[0, 1] < 1e-12  # the first fine step is DDIM's


@pytest.mark.parametrize("sampler", ["ddim", "ipndm"])
def test_found_timesteps_come_nearer_to_the_exact_end_than_common_ones(sampler):
    exact = last(walk("deis", predict, X_T, make_timesteps(SCHEDULE, 400, "logsnr"), SCHEDULE)).x_t
    fine = fine_timesteps(SCHEDULE)
    errors, _ = local_errors(model_of(predict, SCHEDULE), X_T, fine, SCHEDULE)
    found = [fine[::-1][place] for place in reversed(choose(errors, 8, 1.15))]
    ends = {name: make_timesteps(SCHEDULE, 8, name) for name in SPACINGS} | {"found": found}
    misses = {
        name: distance(last(walk(sampler, predict, X_T, timesteps, SCHEDULE)).x_t, exact)
        for name, timesteps in ends.items()
    }
    assert misses["found"] < 0.6 * misses["uniform"] and misses["found"] < misses["karras"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "spacing.json"
    path.write_bytes(write_found(Found("abc", {2: [3.5, 900], 4: [0, 3.5, 70, 900]})))
    return path


def test_a_file_stands_for_the_timesteps_in_it(file):
    settings = SamplerSettings(4, spacing=f"found:{file}")
    assert settings.timesteps == (0, 3.5, 70, 900)
    assert settings == SamplerSettings((0, 3.5, 70, 900), spacing="found", found_for="abc")
    assert settings.recipe()["timesteps"] == [0, 3.5, 70, 900]  # not where the file was
    assert "found_for" not in settings.recipe()
    for calls in (3, 4):
        found = SamplerSettings(calls, spacing=f"found:{file}", sampler="heun")
        assert found.timesteps == (3.5, 900)
    assert settings.sequence(config()) == [0, 3.5, 70, 900]


def test_a_file_that_does_not_say_how_it_was_found(tmp_path):
    old = {"network": "abc", "images": 256, "seed": 1234, "timesteps": {"2": [3.5, 900]}}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    assert read_found(path) == Found("abc", {2: [3.5, 900]}, {})
    path.write_bytes(write_found(read_found(path)))
    assert read_found(path) == Found("abc", {2: [3.5, 900]}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "spacing must be one of"),
        ("nowhere.json", r"^nowhere.json: No such file or directory; make it with"),
        (".", r"^\.: Is a directory; make it with"),
    ],
)
def test_no_file(name, message):
    with pytest.raises(UserError, match=message):
        SamplerSettings(4, spacing=f"found:{name}")


def test_a_number_of_calls_that_the_file_does_not_have(file):
    with pytest.raises(UserError, match="has timesteps for 2, 4 network calls, not 10"):
        SamplerSettings(10, spacing=f"found:{file}")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", json.dumps({"network": "a"}), json.dumps({"timesteps": {"x": [1]}})]
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match="holds no timesteps; make it with `ddim spacing`"):
        SamplerSettings(10, spacing=f"found:{path}")
    with pytest.raises(UserError, match="No such file"):
        read_found(tmp_path / "none.json")


def config() -> Config:
    return parse_config({"data": {"dataset": "DIGITS", "image_size": 8}}, "test")
