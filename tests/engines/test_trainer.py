import math

import numpy as np
import pytest
from oracles import golden, recipe_weights

from jittor_ddim.architecture import layers, parameter_shapes
from jittor_ddim.config import parse_config
from jittor_ddim.diffusion.parametrization import diffuse
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.errors import WeightsError

SHAPE = (8, 3, 16, 16)


def changed(config, **sections):
    """A config with some keys of some sections replaced."""
    update = {
        name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()
    }
    return config.model_copy(update=update)


def golden_batches(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x0 = rng.uniform(-1, 1, SHAPE).astype(np.float32)
        t = rng.integers(0, 1000, SHAPE[0])
        yield x0, t, rng.standard_normal(SHAPE).astype(np.float32)


#: Jittor compiles kernels for every graph and shape: all tests but the golden one share these.
SMALL = parse_config(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
        "model": {
            "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1], "num_res_blocks": 1,
            "attn_resolutions": [], "dropout": 0.0, "ema_rate": 0.75,
        },
        "training": {"batch_size": 4},
    },
    "small",
)  # fmt: skip
DROPPING = changed(SMALL, model={"dropout": 0.3}, optim={"amsgrad": True, "grad_clip": 1.0})
START = recipe_weights(parameter_shapes(SMALL))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    shape = (4, *SMALL.sample_shape)
    return [
        (
            rng.uniform(-1, 1, shape).astype(np.float32),
            rng.integers(0, 1000, 4),
            rng.standard_normal(shape, np.float32),
        )
        for _ in range(3)
    ]


def diffused(batch):
    """x_t, t and target for x0, t and eps."""
    x0, t, eps = batch
    alpha_bar = Schedule.from_config(SMALL.diffusion).alpha_bar[t].reshape(-1, 1, 1, 1)
    return diffuse(x0, eps, alpha_bar), t, eps


def run(trainer, batches):
    """The losses and gradient norms of some steps."""
    return np.array([(trainer.step(*batch), trainer.grad_norm) for batch in batches]).T


def assert_relative(found, expected, tolerance):
    error = np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max()
    assert error <= tolerance, error


def test_twenty_steps_equal_the_official_code(engine):
    tiny = golden("training_tiny")
    config = tiny["config"]
    trainer = engine.trainer(config, recipe_weights(parameter_shapes(config)))
    losses, norms = run(trainer, golden_batches(tiny["rng_seed"], 20))
    np.testing.assert_allclose(losses, tiny["loss"], rtol=2e-5, atol=0)
    np.testing.assert_allclose(norms, tiny["grad_norm"], rtol=2e-5, atol=0)
    assert trainer.steps_done == 20
    for kind, weights in (("final", trainer.weights()), ("ema", trainer.ema_weights())):
        names = [key for key in tiny if key.startswith(f"{kind}/")]
        assert names
        for key in names:
            found, expected = weights[key.removeprefix(f"{kind}/")], tiny[key]
            # Adam divides by the root of the squared gradient: where a gradient is hardly above
            # rounding, so is what is left of 20 steps of 2e-4 each.
            assert np.abs(found - expected).max() <= 2e-5, key


def sgd_trainer(engine, grad_clip=None, accumulate_steps=1):
    """Its first step is -lr times the (clipped) gradient."""
    config = changed(
        SMALL,
        model={"ema": False},
        optim={"optimizer": "SGD", "lr": LR, "grad_clip": grad_clip},
        training={"accumulate_steps": accumulate_steps},
    )
    return engine.trainer(config, START)


LR = 1e-3


def test_micro_batches_give_the_same_step(engine, data):
    """Up to the order of float32 sums; 3 does not divide the batch of 4, 9 exceeds it."""
    expected = sgd_trainer(engine)
    figures = run(expected, data)
    for count in (3, 9):
        split = sgd_trainer(engine, accumulate_steps=count)
        np.testing.assert_allclose(run(split, data), figures, rtol=1e-5, atol=0)
        weights = split.weights()
        for name, value in expected.weights().items():
            assert np.abs(weights[name] - value).max() <= 1e-6, name


def test_clipping_is_off_without_a_limit_and_shortens_the_step_with_one(engine, data):
    limit = 0.25
    moved, norms = [], []
    for grad_clip in (None, limit, 1e6):
        trainer = sgd_trainer(engine, grad_clip)
        trainer.step(*data[0])
        norms.append(trainer.grad_norm)
        weights = trainer.weights()
        squares = [float(np.sum((weights[n].astype(np.float64) - START[n]) ** 2)) for n in START]
        moved.append(math.sqrt(sum(squares)) / LR)
        assert trainer.ema_weights() is None
    np.testing.assert_allclose(norms, norms[0], rtol=1e-6)  # always the norm before clipping
    np.testing.assert_allclose(moved, [norms[0], limit, norms[0]], rtol=1e-3)
    assert norms[0] > limit


def test_the_average_starts_at_the_first_step(engine, data):
    rate = DROPPING.model.ema_rate
    trainer = engine.trainer(DROPPING, START)
    for name, value in trainer.ema_weights().items():
        assert np.array_equal(value, START[name])
    trainer.step(*data[0])
    ema = trainer.ema_weights()
    for name, value in trainer.weights().items():
        expected = rate * START[name].astype(np.float64) + (1 - rate) * value
        assert np.abs(ema[name] - expected).max() <= 1e-6, name


@pytest.mark.parametrize("ema_warmup", [False, True])
def test_the_average_of_thirty_updates(framework, ema_warmup):
    """In float64, by a loop; the warm-up comes to the rate of 0.75 at the 26th update."""
    model = SMALL.model.model_copy(update={"ema_warmup": ema_warmup})
    rng = np.random.default_rng(4)
    expected = {name: rng.standard_normal(shape) for name, shape in SIZES.items()}
    parameters = {name: framework.array(value) for name, value in expected.items()}
    average = framework.module("optimizer").Average(model, parameters)
    for n in range(1, 31):
        mu = min(0.75, (1 + n) / (10 + n)) if ema_warmup else 0.75
        for name, shape in SIZES.items():
            value = rng.standard_normal(shape)
            parameters[name] = framework.array(value)
            expected[name] = mu * expected[name] + (1 - mu) * value
        average.update()
        for name, value in expected.items():
            assert_relative(average.shadow[name].numpy(), value, 1e-6)


def test_loss_is_that_of_the_network_and_changes_nothing(engine, data):
    """With dropout in the config, which it ignores."""
    trainer = engine.trainer(DROPPING, START)
    x_t, t, target = diffused(data[0])
    loss = trainer.loss(x_t, t, target)
    unet = engine.unet(DROPPING)
    unet.load(START)
    eps_pred = unet.predict(x_t, t)
    expected = np.mean(np.sum((target.astype(np.float64) - eps_pred) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    assert trainer.steps_done == 0
    for name, value in trainer.weights().items():
        assert np.array_equal(value, START[name]), name
    trainer.learn(x_t, t, target)  # it still learns
    assert trainer.loss(x_t, t, target) != loss


def test_prediction_is_that_of_the_network_and_changes_nothing(engine, data):
    """Of the weights as they are, not of their average; it drops nothing."""
    trainer, same = engine.trainer(DROPPING, START), engine.trainer(DROPPING, START)
    assert trainer.step(*data[0]) == same.step(*data[0])
    x_t, t = data[1][2], np.full(4, 999)
    unet = engine.unet(DROPPING)
    unet.load(trainer.weights())
    assert np.abs(trainer.predict(x_t, t) - unet.predict(x_t, t)).max() <= 1e-5
    assert trainer.step(*data[0]) == same.step(*data[0])


def test_dropout_follows_from_seed_and_step(engine, data):
    def losses(seed, steps_done):
        trainer = engine.trainer(DROPPING, START, seed)
        trainer.restore(trainer.ema_weights(), trainer.optimizer_state(), steps_done)
        return trainer.loss(*diffused(data[0])), trainer.step(*data[0])

    first, same, other_step, other_seed = (
        losses(1, 0), losses(1, 0), losses(1, 1), losses(2, 0)
    )  # fmt: skip
    assert first == same
    assert first[0] == other_step[0] == other_seed[0]  # loss() drops nothing
    assert len({first[0], first[1], other_step[1], other_seed[1]}) == 4


# The optimisers, in float64, from the papers; PyTorch's documentation where they leave a choice.


def adam(optim, gradients, p):
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for n, g in enumerate(gradients, start=1):
        g = g + optim["weight_decay"] * p
        m = optim["beta1"] * m + (1 - optim["beta1"]) * g
        v = 0.999 * v + 0.001 * g**2
        largest = np.maximum(largest, v)
        m_hat = m / (1 - optim["beta1"] ** n)
        v_hat = (largest if optim["amsgrad"] else v) / (1 - 0.999**n)
        p = p - optim["lr"] * m_hat / (np.sqrt(v_hat) + optim["eps"])
        yield p


def rmsprop(optim, gradients, p):
    v = np.zeros_like(p)
    for g in gradients:
        g = g + optim["weight_decay"] * p
        v = 0.99 * v + 0.01 * g**2
        p = p - optim["lr"] * g / (np.sqrt(v) + optim["eps"])
        yield p


def sgd(optim, gradients, p):
    b = None
    for g in gradients:
        g = g + optim["weight_decay"] * p
        b = g if b is None else 0.9 * b + g
        p = p - optim["lr"] * b
        yield p


RULES = {"Adam": adam, "RMSProp": rmsprop, "SGD": sgd}
SIZES = {"weight": (3, 5), "bias": (4,)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amsgrad": True},
        {"weight_decay": 0.3},
        {"beta1": 0.5, "eps": 0.1},
        {"optimizer": "RMSProp"},
        {"optimizer": "RMSProp", "weight_decay": 0.3, "eps": 0.1},
        {"optimizer": "SGD"},
        {"optimizer": "SGD", "weight_decay": 0.3},
    ],
    ids=str,
)
def test_the_optimisers_follow_their_papers(framework, changes):
    plain = {"optimizer": "Adam", "weight_decay": 0.0, "beta1": 0.9, "amsgrad": False, "eps": 1e-8}
    optim = {**plain, "lr": 0.05, **changes}
    rng = np.random.default_rng(3)
    start = {name: rng.standard_normal(shape) for name, shape in SIZES.items()}
    scales = (3.0, 0.1, 1.0, 1e-3, 0.5)  # falling squares are what amsgrad is for
    gradients = {
        name: [scale * rng.standard_normal(shape) for scale in scales]
        for name, shape in SIZES.items()
    }
    parameters = {name: framework.array(value) for name, value in start.items()}
    optimizer = framework.module("optimizer").Optimizer(
        SMALL.optim.model_copy(update=optim), parameters
    )
    expected = {
        name: RULES[optim["optimizer"]](optim, gradients[name], start[name]) for name in SIZES
    }
    for n in range(len(scales)):
        optimizer.step([framework.array(gradients[name][n]) for name in SIZES])
        for name in SIZES:
            assert_relative(parameters[name].numpy(), next(expected[name]), 2e-6)


@pytest.mark.parametrize("limit", [None, 100.0, 0.5])
def test_clipping_by_the_global_norm(framework, limit):
    clip_by_norm = framework.module("optimizer").clip_by_norm
    rng = np.random.default_rng(1)
    gradients = [rng.standard_normal(shape) for shape in SIZES.values()]
    expected = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    clipped, norm = clip_by_norm([framework.array(g) for g in gradients], limit)
    np.testing.assert_allclose(norm.item(), expected, rtol=1e-6)
    scale = 1 if limit is None else min(1, limit / expected)
    for found, gradient in zip(clipped, gradients, strict=True):
        assert_relative(found.numpy(), scale * gradient, 5e-6)


@pytest.mark.parametrize("optimizer", ["Adam", "RMSProp", "SGD"])
def test_a_restored_trainer_goes_on_to_the_bit(engine, data, optimizer):
    config = changed(DROPPING, model={"ema_warmup": True}, optim={"optimizer": optimizer})
    unbroken = engine.trainer(config, START, 9)
    run(unbroken, data[:2])
    restored = engine.trainer(config, unbroken.weights(), 9)
    restored.restore(unbroken.ema_weights(), unbroken.optimizer_state(), 2)
    for _ in range(2):  # a second round, to show that no state was left behind
        assert np.array_equal(run(restored, data), run(unbroken, data))
    pairs = [
        (restored.weights(), unbroken.weights()),
        (restored.ema_weights(), unbroken.ema_weights()),
        (restored.optimizer_state(), unbroken.optimizer_state()),
    ]
    for found, expected in pairs:
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert np.array_equal(found[name], value), name
    assert restored.steps_done == unbroken.steps_done == 8


def test_state_that_does_not_fit_is_refused(engine):
    trainer = engine.trainer(DROPPING, START)
    of_another_optimizer = {f"square_avg/{name}": value for name, value in START.items()}
    with pytest.raises(WeightsError, match=r"exp_avg/temb\.dense\.0\.weight"):
        trainer.restore(START, of_another_optimizer, 1)
    with pytest.raises(WeightsError, match="missing"):
        trainer.restore({}, trainer.optimizer_state(), 1)
    incomplete = {name: value for name, value in START.items() if name != "norm_out.bias"}
    with pytest.raises(WeightsError, match=r"norm_out\.bias"):
        engine.trainer(DROPPING, incomplete)


def test_fresh_weights_are_the_unets(engine):
    weights = engine.trainer(DROPPING, seed=3).weights()
    for name, value in engine.unet(DROPPING, seed=3).weights().items():
        assert np.array_equal(weights[name], value), name


def test_a_batch_of_one_is_learnt(engine, data):
    trainer = sgd_trainer(engine)
    batch = tuple(array[:1] for array in data[0])
    losses = [trainer.step(*batch) for _ in range(6)]
    assert losses[-1] < 0.9 * losses[0]


def test_phases_are_a_step(engine, data):
    """The same loss, gradients and update, with a stopwatch between them."""
    config = changed(DROPPING, optim={"optimizer": "SGD"})
    plain, timed = (engine.trainer(config, START, 9) for _ in range(2))
    for batch in data:
        plain.step(*batch)
        seconds = timed.phases(*diffused(batch))
        assert list(seconds) == ["forward", "backward", "optimizer"]
        assert min(seconds.values()) > 0
    assert timed.steps_done == plain.steps_done == len(data)
    np.testing.assert_allclose(timed.grad_norm, plain.grad_norm, rtol=1e-5)
    weights = timed.weights()
    for name, value in plain.weights().items():
        assert np.abs(weights[name] - value).max() <= 1e-6, name


def test_inspection_shows_layers_and_gradients_and_learns_nothing(engine, data):
    trainer = engine.trainer(SMALL, START)
    outputs, gradients = trainer.inspect(*diffused(data[0]))
    table = layers(SMALL)
    # In the order of execution, in which an attention block comes after its parts.
    parts = [layer.name for layer in table if layer.kind != "attention"]
    assert [name for name in outputs if name in parts] == parts
    assert set(outputs) == {layer.name for layer in table}
    for layer in table:
        assert outputs[layer.name].shape == (4, *layer.out_shape), layer.name
    assert list(gradients) == list(START)
    # The last layer's output is eps_pred, and so the loss.
    x_t, t, target = diffused(data[0])
    loss = np.mean(np.sum((target - outputs["conv_out"]) ** 2, axis=(1, 2, 3)), dtype=np.float64)
    np.testing.assert_allclose(trainer.loss(x_t, t, target), loss, rtol=2e-6)
    # One step of plain SGD is -lr times the gradient.
    stepped = sgd_trainer(engine)
    stepped.step(*data[0])
    for name, value in stepped.weights().items():
        moved = (START[name].astype(np.float64) - value) / LR
        scale = np.abs(START[name]).max() / LR * 1e-7 + np.abs(gradients[name]).max() * 1e-5
        assert np.abs(moved - gradients[name]).max() <= scale, name
    assert trainer.steps_done == 0
    for name, value in trainer.weights().items():
        assert np.array_equal(value, START[name]), name


def test_the_norm_of_a_large_gradient_keeps_its_digits(framework):
    """Regression: added up one after the other in float32, a convolution's lost five of them."""
    gradient = np.random.default_rng(2).standard_normal((256, 512, 3, 3)).astype(np.float32)
    expected = np.linalg.norm(gradient.astype(np.float64).ravel())
    _, norm = framework.module("optimizer").clip_by_norm([framework.array(gradient)], None)
    np.testing.assert_allclose(norm.item(), expected, rtol=1e-6)
