import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import golden

from jittor_ddim.config import DiffusionConfig
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import (
    SPACINGS,
    antithetic_timesteps,
    check_timesteps,
    make_timesteps,
)
from jittor_ddim.errors import UserError

SCHEDULE = Schedule.from_config(DiffusionConfig())
DIVISORS = [s for s in range(1, 1001) if 1000 % s == 0]


def official_uniform(total: int, count: int) -> list[int]:
    return list(range(0, total, total // count))


def official_quad(total: int, count: int) -> list[int]:
    return [int(s) for s in list(np.linspace(0, np.sqrt(total * 0.8), count) ** 2)]


@pytest.mark.parametrize("count", DIVISORS)
def test_uniform_is_the_official_sequence_where_it_divides(count):
    assert make_timesteps(SCHEDULE, count, "uniform") == official_uniform(1000, count)


@pytest.mark.parametrize("count", [3, 300, 400, 501, 999])
def test_uniform_makes_the_number_of_steps_asked_for(count):
    assert len(official_uniform(1000, count)) > count
    sequence = make_timesteps(SCHEDULE, count)
    assert len(sequence) == count
    exact = np.arange(count) * 1000 / count
    assert np.all((exact - sequence >= 0) & (exact - sequence < 1))


@pytest.mark.parametrize(("count", "distinct"), [(10, 10), (50, 49), (100, 96), (1000, 688)])
def test_quad_is_the_official_sequence_without_repeats(count, distinct):
    sequence = make_timesteps(SCHEDULE, count, "quad")
    assert sequence == sorted(set(official_quad(1000, count)))
    assert len(sequence) == distinct


def test_sequences_of_the_golden_runs():
    runs = golden("sampling_tiny")
    names = [name for name in runs if name.endswith("_seq")]
    assert len(names) == 9
    for name in names:
        spacing = "quad" if name.startswith("quad") else "uniform"
        count = next(int(part) for part in name.split("_") if part.isdigit())
        assert make_timesteps(SCHEDULE, count, spacing) == sorted(set(runs[name].tolist())), name


@pytest.mark.parametrize("count", [5, 10, 20, 50])
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_spacings_of_diffusers(spacing, count):
    expected = golden("samplers")[f"spacing/{spacing}_{count}"]
    assert make_timesteps(SCHEDULE, count, spacing) == expected[::-1].tolist()


@pytest.mark.parametrize("count", [5, 10, 20])
@pytest.mark.parametrize(("spacing", "name"), [("logsnr", "loglinear"), ("karras", "karras")])
def test_spacings_by_noise_of_diffusers(spacing, name, count):
    """It rounds the timesteps, and walks between the noise levels that are not rounded."""
    found = make_timesteps(SCHEDULE, count, spacing)[::-1]
    alpha_bar = np.array([SCHEDULE.alpha_bar_at(t) for t in found])
    runs = golden("samplers")
    sigmas = runs[f"spacing/{name}_sigmas_{count}"]
    assert sigmas[-1] == 0
    np.testing.assert_allclose(np.sqrt(1 / alpha_bar - 1), sigmas[:-1], rtol=2e-5)
    assert np.abs(np.round(found) - runs[f"spacing/{name}_{count}"]).max() <= 1


@settings(deadline=None)
@given(st.data())
def test_sequences_ascend_in_range(data):
    total = data.draw(st.integers(2, 5000))
    count = data.draw(st.integers(1, total))
    spacing = data.draw(st.sampled_from(list(SPACINGS)))
    schedule = Schedule.from_config(DiffusionConfig(num_diffusion_timesteps=total, beta_end=0.002))
    sequence = make_timesteps(schedule, count, spacing)
    fractions = spacing in ("logsnr", "karras")
    assert all(type(t) is (float if fractions else int) for t in sequence)
    assert sequence[0] >= 0 and sequence[-1] < total
    assert all(a < b for a, b in zip(sequence, sequence[1:], strict=False))
    repeats = spacing in ("quad", "linspace")
    assert len(sequence) <= count if repeats else len(sequence) == count
    assert check_timesteps(sequence, schedule) == sequence
    if spacing == "uniform":  # evenly: two gaps differ by one at most
        gaps = np.diff([*sequence, total])
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("count", [0, -1, 1001, 2000])
def test_the_number_of_network_calls_is_in_range(spacing, count):
    with pytest.raises(UserError, match=rf"timesteps must be in 1 … 1000, got {count}"):
        make_timesteps(SCHEDULE, count, spacing)


@pytest.mark.parametrize(("least", "most"), [(1, 1999), (2, 2000)])
def test_a_sampler_of_two_calls_per_step_gets_half_the_timesteps(least, most):
    def calls(timesteps):
        return 2 * len(timesteps) - (least == 1)

    for count in (least, 10, 11, 999, most):
        sequence = make_timesteps(SCHEDULE, count, "uniform", calls)
        assert count - 1 <= calls(sequence) <= count
        assert sequence == make_timesteps(SCHEDULE, len(sequence))
    for count in (least - 1, most + 1):
        with pytest.raises(UserError, match=rf"in {least} … {most}, got {count}"):
            make_timesteps(SCHEDULE, count, "uniform", calls)


@pytest.mark.parametrize("kind", ["linear", "quad", "const", "cosine"])
@pytest.mark.parametrize("spacing", ["logsnr", "karras"])
def test_spacings_of_the_noise_have_exact_ends(kind, spacing):
    schedule = Schedule.from_config(DiffusionConfig(beta_schedule=kind))
    steps = make_timesteps(schedule, 7, spacing)
    assert steps[0] == 0 and steps[-1] == 999
    assert make_timesteps(schedule, 1, spacing) == [999]


def test_an_explicit_sequence_comes_back_as_integers():
    for sequence in ([0, 1, 999], (0, 1, 999), np.array([0, 1, 999]), [0.0, 1.0, 999.0]):
        assert check_timesteps(sequence, SCHEDULE) == [0, 1, 999]
    assert check_timesteps([5], SCHEDULE) == [5]  # it need not begin at 0


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ([], "empty"),
        ([3, 2], "ascending"),
        ([1, 1], "ascending"),
        ([0, 2, 1], "ascending"),
        ([-1, 5], "-1 … 5 leaves the range 0 … 999"),
        ([0, 1000], "0 … 1000 leaves"),
        ([0, math.nan], "numbers"),
    ],
)
def test_bad_explicit_sequences_are_refused(sequence, message):
    with pytest.raises(UserError, match=message):
        check_timesteps(sequence, SCHEDULE)


def test_a_timestep_that_holds_no_image_is_refused():
    jsd = Schedule.from_config(DiffusionConfig(beta_schedule="jsd"))
    assert check_timesteps(range(999), jsd)
    for prediction in ("x0", "v"):  # which hold the image themselves
        assert check_timesteps([5, 999], jsd, prediction) == [5, 999]
    for timesteps in ([999], range(1000)):
        with pytest.raises(UserError, match="timestep 999 keeps nothing of the image"):
            check_timesteps(timesteps, jsd)


@given(st.integers(1, 50), st.integers(2, 2000), st.integers(0, 2**32))
def test_antithetic_timesteps_come_in_pairs(size, total, seed):
    t = antithetic_timesteps(np.random.default_rng(seed), size, total)
    draws = np.random.default_rng(seed).integers(0, total, size // 2 + 1)
    assert t.shape == (size,) and t.dtype == np.int64
    assert np.all((t >= 0) & (t < total))
    np.testing.assert_array_equal(t[: size // 2 + 1], draws[:size])
    mirrored = t[size // 2 + 1 :]
    np.testing.assert_array_equal(mirrored + t[: len(mirrored)], total - 1)


def test_antithetic_timesteps_reach_both_ends():
    t = antithetic_timesteps(np.random.default_rng(0), 10_000, 5)
    assert set(t.tolist()) == {0, 1, 2, 3, 4}
