"""Classes of samples and classifier-free guidance, with the toy engine."""

import numpy as np
import pytest
from fake_engine import TABLE, FakeEngine

import jittor_ddim as jd
from jittor_ddim.config import Config, parse_config
from jittor_ddim.errors import UserError
from jittor_ddim.guidance import Classes
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.sampling import SamplerSettings, interpolate, sample_images, trajectory


def make_config(classes: int | None = 3, **training) -> Config:
    return parse_config(
        {
            "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
            "model": {
                "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_groups": 8,
                "num_res_blocks": 1, "attn_resolutions": [], "num_classes": classes,
            },
            "diffusion": {"num_diffusion_timesteps": 100, "beta_end": 0.1},
            "training": training,
        },
        "test",
    )  # fmt: skip


CONFIG = make_config()
X_T = jd.initial_noise(CONFIG, seed=3, indices=range(4))
SETTINGS = SamplerSettings(timesteps=3, seed=3)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def unet(engine):
    """Class k, and 3 for none, adds 0.1 (k + 1) to the output."""
    weights = fresh_weights(CONFIG)
    weights[TABLE] += np.float32(0.1) * np.arange(1, 5, dtype=np.float32)[:, None]
    return engine.unet(CONFIG, weights)


@pytest.mark.parametrize("guidance", [0, 1, 3, 0.5])
def test_every_step_is_the_formula_of_two_calls(engine, unet, guidance):
    labels = [2, 0, 1, 1]
    x = X_T
    steps = list(jd.sample_steps(unet, CONFIG, X_T, 4, labels=labels, guidance=guidance))
    calls = engine.calls[:]
    for step in steps:
        t = np.full(4, step.t)
        eps = (1 + guidance) * unet.predict(x, t, labels) - guidance * unet.predict(x, t)
        a = jd.Schedule.from_config(CONFIG.diffusion).alpha_bar[step.t]
        expected = (x - (1 - a) ** 0.5 * eps) / a**0.5
        np.testing.assert_allclose(step.x0, expected, rtol=1e-5, atol=1e-5)
        x = step.x_t
    assert [count for count, _ in calls] == [8 if guidance else 4] * 4  # both halves at once


def test_without_labels_there_is_no_class(unet):
    assert np.array_equal(
        unet.predict(X_T, np.full(4, 9)), unet.predict(X_T, np.full(4, 9), [3] * 4)
    )
    found = jd.sample(unet, CONFIG, X_T, 3)
    of_class = jd.sample(unet, CONFIG, X_T, 3, labels=[2] * 4)
    assert np.abs(found - of_class).max() > 0.01


def test_labels_belong_to_the_batch_not_to_the_indices(unet):
    found = jd.sample(unet, CONFIG, X_T, 3, labels=[0, 1, 2, 0], indices=[7, 5, 9, 2])
    one = jd.sample(unet, CONFIG, X_T[1:2], 3, labels=np.array([1]), indices=[5])
    np.testing.assert_array_equal(found[1:2], one)


def test_classes_take_turns_or_have_runs():
    classes = Classes((5, 7, 2))
    assert classes.labels([0, 1, 2, 3, 10]) == [5, 7, 2, 5, 7]
    assert Classes((5, 7, 2), run=2).labels(range(8)) == [5, 5, 7, 7, 2, 2, 5, 5]
    assert Classes().labels(range(3)) is None
    assert Classes.every(CONFIG).chosen == (0, 1, 2)
    assert Classes.every(make_config(None)) == Classes()


def test_the_recipe_tells_classes_only_where_there_are_any():
    assert Classes().recipe() == {}
    assert Classes((1, 0), 2.0).recipe() == {"classes": [1, 0], "guidance": 2.0}


def test_images_of_classes_are_those_of_their_labels(unet):
    classes = Classes((2, 0), 1.5)

    def expected(rows, labels):
        x_T = jd.initial_noise(CONFIG, 3, rows)
        x_0 = jd.sample(unet, CONFIG, x_T, 3, seed=3, indices=rows, labels=labels, guidance=1.5)
        return ((x_0.clip(-1, 1) + 1) / 2 * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)

    found = np.stack(list(sample_images(unet, CONFIG, SETTINGS, [3, 4, 8], 2, classes)))
    assert np.array_equal(found, expected([3, 4, 8], [0, 2, 2]))
    *_, last = trajectory(unet, CONFIG, SETTINGS, 3, {1, 2, 3}, classes=classes)
    assert np.array_equal(last, expected([0, 1, 2], [2, 0, 2]))
    arc = interpolate(unet, CONFIG, SETTINGS, 3, Classes((1,), 1.5))
    assert np.array_equal(arc[[0, 2]], expected([0, 1], [1, 1]))


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({"labels": [0, 1, 2, 3]}, 3, "class 3: the network has the classes 0 … 2"),
        ({"labels": [0, -1, 2, 1]}, 3, "class -1"),
        ({"labels": ["-1"] * 4}, 3, "class -1: the network has the classes 0 … 2"),
        ({"labels": [0, 1]}, 3, "labels: got 2 for 4"),
        ({"labels": [0, 1], "guidance": 1}, 3, "labels: got 2 for 4"),
        ({"labels": [0.5] * 4}, 3, "labels must be"),
        ({"guidance": 1}, 3, "guidance 1 is towards a class; choose one"),
        ({"labels": [0] * 4, "guidance": -1}, 3, "guidance must be"),
        ({"labels": [0] * 4, "guidance": float("nan")}, 3, "guidance must be"),
        ({"labels": [0] * 4, "guidance": "much"}, 3, "guidance must be a number"),
        ({"labels": [0] * 4}, None, "a class: the network has no classes"),
        ({"guidance": 2}, None, "guidance: the network has no classes"),
    ],
)
def test_what_cannot_be_drawn_is_named(engine, options, classes, message):
    config = make_config(classes)
    with pytest.raises(UserError, match=message):
        jd.sample_steps(engine.unet(config), config, X_T, 3, **options)
    assert engine.calls == []


def test_a_network_that_always_saw_classes_draws_nothing_else(engine):
    config = make_config(class_dropout=0)
    unet = engine.unet(config)
    for options in ({}, {"labels": [0] * 4, "guidance": 1}):
        with pytest.raises(UserError, match=r"training.class_dropout 0"):
            jd.sample(unet, config, X_T, 3, **options)
    jd.sample(unet, config, X_T, 3, labels=[0] * 4)


def test_a_network_that_never_saw_a_class_draws_none(engine):
    config = make_config(class_dropout=1)
    with pytest.raises(UserError, match=r"a class: .*training.class_dropout 1\); leave it out"):
        jd.sample(engine.unet(config), config, X_T, 3, labels=[0] * 4)
    jd.sample(engine.unet(config), config, X_T, 3)
