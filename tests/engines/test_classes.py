"""A network with classes, in both engines: against diffusers, and against one without classes."""

import numpy as np
import pytest
from oracles import golden, recipe_weights

import jittor_ddim as jd
from jittor_ddim.architecture import parameter_shapes
from jittor_ddim.checkpoints.native import load_checkpoint
from jittor_ddim.errors import UserError
from jittor_ddim.stopwatch import count_loads
from jittor_ddim.training import Images, train

TABLE = "class_embedding.weight"


def changed(config, **sections):
    update = {
        name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()
    }
    return config.model_copy(update=update)


@pytest.fixture(scope="module")
def data():
    return golden("unet_classes")


@pytest.fixture(scope="module")
def weights(data):
    return recipe_weights(parameter_shapes(data["config"]))


@pytest.fixture(scope="module")
def unet(engine, data, weights):
    return engine.unet(data["config"], weights)


def inputs(data):
    return data["x"], data["t"], data["target"], data["labels"]


def test_outputs_are_those_of_diffusers(unet, data):
    found = unet.predict(data["x"], data["t"], data["labels"])
    assert np.abs(found - data["eps"]).max() <= 2e-5 * np.abs(data["eps"]).max()
    none = unet.predict(data["x"], data["t"], [3] * 4)
    assert np.array_equal(unet.predict(data["x"], data["t"]), none)
    assert np.abs(none - found).max() > 0.01


def test_loss_and_gradient_are_those_of_diffusers(engine, data, weights):
    trainer = engine.trainer(data["config"], weights)
    assert trainer.loss(*inputs(data)) == pytest.approx(data["loss"], rel=2e-5)
    outputs, gradients = trainer.inspect(*inputs(data))
    assert np.array_equal(outputs["class_embedding"], weights[TABLE][data["labels"]])
    error = np.abs(gradients[TABLE] - data["table_gradient"]).max()
    assert error <= 1e-4 * data["largest_gradient"]
    assert np.abs(data["table_gradient"]).max() > 100 * error


def test_a_table_of_zeros_is_the_network_without_classes_to_the_bit(engine, data, weights):
    config = data["config"]
    plain = changed(config, model={"num_classes": None})
    fewer = {name: weights[name] for name in parameter_shapes(plain)}
    zeros = fewer | {TABLE: np.zeros_like(weights[TABLE])}
    without, with_zeros = engine.unet(plain, fewer), engine.unet(config, zeros)
    expected = without.predict(data["x"], data["t"])
    for labels in (data["labels"], None):
        assert np.array_equal(with_zeros.predict(data["x"], data["t"], labels), expected)
    losses = [
        engine.trainer(one, own).loss(*inputs(data))
        for one, own in ((plain, fewer), (config, zeros))
    ]
    assert losses[0] == losses[1]


def test_a_timestep_on_the_device_is_the_same(unet, data):
    x, labels = data["x"], data["labels"]
    for given in (labels, None):
        expected = unet.predict(x, np.full(4, 7), given)
        placed = None if given is None else unet.place_labels(given, 4)
        found = unet.to_host(unet.predict_on_device(unet.to_device(x), 7, placed))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("labels", [[0, 1, 2, 4], [0, -1, 2, 3], [0, 1, 2], [0, 1, 2, "cat"]])
def test_wrong_labels_are_named(unet, data, labels):
    with pytest.raises(UserError, match="labels"):
        unet.predict(data["x"], data["t"], labels)


@pytest.mark.parametrize("guidance", [0, 1, 3])
def test_guidance_is_the_formula_of_two_calls(unet, data, guidance):
    config, x, labels = data["config"], data["x"], [0, 2, 1, 1]
    [step] = jd.sample_steps(unet, config, x, [500], labels=labels, guidance=guidance)
    t = np.full(4, 500)
    eps = (1 + guidance) * unet.predict(x, t, labels) - guidance * unet.predict(x, t)
    a = jd.Schedule.from_config(config.diffusion).alpha_bar[500]
    expected = (x - (1 - a) ** 0.5 * eps) / a**0.5
    assert np.abs(step.x0 - expected).max() <= 2e-5 * np.abs(expected).max()


def test_micro_batches_keep_labels_with_their_images(engine, data, weights):
    found = []
    for parts in (1, 2):
        config = changed(data["config"], training={"accumulate_steps": parts})
        trainer = engine.trainer(config, weights)
        found.append((trainer.learn(*inputs(data)), trainer.grad_norm))
    np.testing.assert_allclose(found[1], found[0], rtol=2e-5)


def test_a_step_in_parts_is_a_step(engine, data, weights):
    whole, timed = (engine.trainer(data["config"], weights) for _ in range(2))
    whole.learn(*inputs(data))
    timed.phases(*inputs(data))
    assert np.array_equal(whole.weights()[TABLE], timed.weights()[TABLE])
    assert not np.array_equal(whole.weights()[TABLE], weights[TABLE])


def test_other_labels_load_no_kernel(engine, data, unet, weights):
    trainer = engine.trainer(data["config"], weights)
    for _ in range(3):
        trainer.learn(*inputs(data))
        unet.predict(*inputs(data)[:2], [0, 0, 0, 0])
    before = count_loads()
    for label in range(4):
        trainer.learn(*inputs(data)[:3], np.full(4, label))
        unet.predict(*inputs(data)[:2], [label] * 4)
    assert count_loads() == before


class Silent:
    """An observer of a run."""

    def step(self, record):
        pass

    def preview(self, step, pixels):
        pass


def test_a_resumed_run_is_the_unbroken_one_to_the_bit(engine, data, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 8, 8, 1), np.uint8)
    images = Images(pixels, pixels[:4], np.arange(10) % 3, np.arange(4) % 3)
    config = changed(data["config"], training={"n_iters": 4, "validation_freq": 4})
    ends = []
    for stops in ((4,), (2, 4)):
        folder = tmp_path / str(len(stops))
        folder.mkdir()
        resume = None
        for stop in stops:
            part = changed(config, training={"n_iters": stop})
            saved = train(part, engine, images, folder, Silent(), seed=5, resume=resume)
            resume = load_checkpoint(saved)
        ends.append(resume)
    for kind in ("weights", "ema_weights", "optimizer"):
        one, other = (getattr(end, kind) for end in ends)
        assert all(np.array_equal(one[name], other[name]) for name in one), kind
    assert np.abs(ends[0].weights[TABLE]).max() > 0
