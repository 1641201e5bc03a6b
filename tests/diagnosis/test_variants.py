"""Faults in other shapes than those of test_planted.py, and healthy runs that come near them."""

import faulty_runs as runs
import numpy as np
import pytest

from jittor_ddim import diagnose
from jittor_ddim.diagnosis.images import Sample

DIGITS = runs.load_digits()[0]


def causes(run):
    return [finding.cause for finding in diagnose(run)]


def jitter(image, most, seed):
    """The image with noise that is even in -most … most."""
    noise = np.random.default_rng(seed).integers(-most, most + 1, image.shape)
    return (image.astype(int) + noise).clip(0, 255).astype(np.uint8)


def with_images(at, change, number=600):
    config = runs.own_images(runs.images(at / "data", number, change))
    metrics = runs.records(config, images=570)
    return runs.write(at / "run", config, metrics=metrics)


@pytest.mark.parametrize("values", [{"ema_weights": 1.0}, {"ema_weights": 0.0}, {"weights": 0.01}])
def test_weights_or_an_average_of_another_size(values, tmp_path):
    """Without weight decay, and though the logged loss is good."""
    config = runs.config()
    (name, factor), healthy = next(iter(values.items())), runs.checkpoint(config)
    small = {key: w * np.float32(factor) for key, w in healthy.weights.items()}
    planted = {name: small} if name == "ema_weights" else {name: small, "ema_weights": small}
    expected = {0.0: ["foreign_average"], 0.01: ["foreign_weights"], 1.0: []}[factor]
    assert causes(runs.write(tmp_path / "run", config, **planted)) == expected


def test_an_average_of_another_run(tmp_path):
    config = runs.config()
    start = runs.fresh_weights(config, 77)
    rng = np.random.default_rng(5)
    other = {
        name: (w + 0.6 * (w.std() or 0.1) * rng.standard_normal(w.shape)).astype(np.float32)
        for name, w in start.items()
    }
    assert causes(runs.write(tmp_path / "run", config, ema_weights=other)) == ["foreign_average"]


def test_an_average_of_another_run_where_the_start_is_unknown(tmp_path):
    config, log = runs.config(), ["Starting from the weights of cifar10.safetensors"]
    other = runs.fresh_weights(config, 77)
    run = runs.write(tmp_path / "run", config, log=log, ema_weights=other)
    assert causes(run) == ["foreign_average"]


@pytest.mark.parametrize("moved", [1e-4, 0.6, 3.0])
@pytest.mark.parametrize("rate", [0.98, 0.9999])
def test_an_average_that_lags_is_no_other_run(moved, rate, tmp_path):
    config = runs.config(**{"model.ema_rate": rate, "model.ema_warmup": False})
    run = runs.write(tmp_path / "run", config, saved=runs.checkpoint(config, moved=moved))
    assert "foreign_average" not in causes(run)


@pytest.mark.parametrize(("newest", "expected"), [(199, []), (99, ["unsaved_steps"])])
def test_a_run_that_trains_is_behind_by_no_more_than_a_snapshot(newest, expected, tmp_path):
    config = runs.config(**{"training.n_iters": 9000, "training.snapshot_freq": 500})
    saved = runs.checkpoint(config, step=newest)
    metrics = runs.records(config, runs.losses(), validation_mean_error=0.2)
    assert causes(runs.write(tmp_path / "run", config, metrics=metrics, saved=saved)) == expected


@pytest.mark.parametrize("steps", [1, runs.STEPS])
def test_a_loss_that_is_nan_from_the_first_step(steps, tmp_path):
    config = runs.config()
    metrics = runs.records(config, np.full(steps, np.nan), grad_norm=np.nan)
    (finding,) = diagnose(runs.write(tmp_path / "run", config, metrics=metrics, saved=False))
    assert (finding.cause, finding.grade) == ("nan_from_start", "ruins")
    assert finding.values == {"count": steps, "all": steps, "first": 1}


def test_nan_at_the_end_is_the_learning_rate(tmp_path):
    loss = runs.losses()
    loss[300:] = np.nan
    run = runs.write(tmp_path / "run", runs.config(), metrics=runs.records(runs.config(), loss))
    assert causes(run) == ["diverged"]


@pytest.mark.parametrize(("lr", "level", "moved"), [(0.1, 0.2, 11.5), (0.05, 0.6, 4), (0.1, 1, 8)])
def test_a_rate_that_is_far_too_high_though_the_loss_falls(lr, level, moved, tmp_path):
    """As 300 steps of the digits at lr 0.1 leave it; more steps are no remedy."""
    config = runs.config(**{"optim.lr": lr})
    metrics = runs.records(config, runs.losses(end=level))
    saved = runs.checkpoint(config, moved=moved)
    (finding,) = diagnose(runs.write(tmp_path / "run", config, metrics=metrics, saved=saved))
    assert finding.cause == "diverged" and finding.values["try"] < lr / 9


def test_a_high_rate_that_a_warm_up_has_not_reached_is_none(tmp_path):
    config = runs.config(
        **{"optim.lr": 0.1, "optim.warmup_steps": 30_000, "training.n_iters": 1e5}
    )
    metrics = runs.records(config, runs.losses(end=0.2))
    assert "diverged" not in causes(runs.write(tmp_path / "run", config, metrics=metrics))


@pytest.mark.parametrize(
    "change",
    [lambda x: x // 4, lambda x: x // 2, lambda x: 200 + x // 5, lambda x: 128 + x // 2],
    ids=["0 … 63", "0 … 127", "200 … 251", "128 … 255"],
)
def test_images_in_a_part_of_the_range(change, tmp_path):
    assert causes(with_images(tmp_path, lambda x, k: change(x))) == ["flat_images"]


def test_pictures_with_a_little_noise_are_repetitions(tmp_path):
    run = with_images(tmp_path, lambda x, k: jitter(DIGITS[k % 10], 2, k))
    (finding,) = diagnose(run)
    assert finding.cause == "repeated_images"
    assert (finding.values["repeats"], finding.values["distinct"]) == (pytest.approx(60), 10)


def test_one_picture_with_noise_is_one_picture(tmp_path):
    run = with_images(tmp_path, lambda x, k: jitter(DIGITS[0], 15, k))
    assert causes(run) == ["constant_images"]


@pytest.mark.parametrize("copies", [2, 10])
def test_near_repetitions_are_estimated_from_a_part(copies):
    """2,048 are read of 20,000; every one differs from the others by noise."""
    rng = np.random.default_rng(0)
    distinct = rng.integers(0, 256, (20_000 // copies, 8, 8, 1), dtype=np.uint8)
    rows = np.sort(rng.choice(20_000, 2048, replace=False))
    read = np.stack([jitter(distinct[row // copies], 3, row) for row in rows])
    found = Sample(runs.config(), read, 20_000, 20_000)
    assert found.repeats == 1 and found.near_repeats == pytest.approx(copies, rel=0.2)


@pytest.mark.parametrize("blank", [0, 20])
def test_similar_images_and_a_few_that_are_all_but_blank_are_no_repetitions(blank):
    """As among sprites on white: those few make more pairs than a set that holds all twice."""
    white = [jitter(np.full((8, 8), 253, np.uint8), 2, k) for k in range(blank)]
    pixels = np.concatenate([DIGITS[:280], np.array(white, np.uint8).reshape(-1, 8, 8)])
    found = Sample(runs.config(), pixels[..., None], len(pixels), len(pixels))
    assert found.near_repeats == 1
