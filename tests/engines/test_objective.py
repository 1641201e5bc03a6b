"""What is learnt and how fast, by config keys, against NumPy."""

import numpy as np
import pytest

import jittor_ddim as jd
from engines.test_trainer import (
    RULES,
    SIZES,
    SMALL,
    START,
    assert_relative,
    changed,
    data,
    run,
)
from jittor_ddim.diffusion.parametrization import (
    diffuse,
    make_example,
    predict_x0,
    training_target,
)
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.learning_rate import lr_at
from jittor_ddim.stopwatch import count_loads

__all__ = ["data"]  # a fixture
PREDICTIONS = ("eps", "x0", "v")


@pytest.mark.parametrize("loss_weight", ["simple", "min_snr_gamma"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_and_its_gradient(engine, data, prediction, loss_weight):
    config = changed(
        SMALL,
        diffusion={"prediction": prediction, "zero_terminal_snr": prediction != "eps"},
        training={"loss_weight": loss_weight},
        optim={"optimizer": "SGD"},
    )
    x0, t, eps = data[0]
    t = np.array([0, 100, 600, 999])
    schedule = Schedule.from_config(config.diffusion)
    a = schedule.alpha_bar[t].astype(np.float64).reshape(-1, 1, 1, 1)
    x_t = diffuse(x0, eps, a).astype(np.float32)
    output = engine.unet(config, START).predict(x_t, t)
    target = {"eps": eps, "x0": x0, "v": a**0.5 * eps - (1 - a) ** 0.5 * x0}[prediction]
    weight = np.ones_like(a)
    if loss_weight == "min_snr_gamma":
        snr = a / (1 - a)
        divisor = {"x0": 1, "eps": snr, "v": snr + 1}[prediction]
        # At snr = 0 the weight is 1 by our decision, in x0 and v.
        weight = np.where(snr == 0, 1, np.minimum(snr, 5)) / divisor
    difference = target - output
    expected = (weight * difference**2).sum() / 4
    example = make_example(schedule, x0, t, eps, prediction)
    trainer = engine.trainer(config, START)
    np.testing.assert_allclose(trainer.loss(*example), expected, rtol=1e-5)
    _, gradients = trainer.inspect(*example)
    bias = -2 * (weight * difference).sum() / 4
    size = 2 * (weight * np.abs(difference)).sum() / 4
    assert abs(gradients["conv_out.bias"].item() - bias) <= 1e-5 * size
    np.testing.assert_allclose(trainer.step(x0, t, eps), expected, rtol=1e-5)
    parts = engine.trainer(changed(config, training={"accumulate_steps": 2}), START)
    np.testing.assert_allclose(parts.step(x0, t, eps), expected, rtol=1e-5)
    np.testing.assert_allclose(parts.grad_norm, trainer.grad_norm, rtol=1e-5)


@pytest.mark.parametrize("optimizer", RULES)
def test_optimisers_with_another_rate_in_each_step(framework, optimizer):
    optim = {"optimizer": optimizer, "lr": 0.05, "decay": "cosine", "warmup_steps": 2}
    settings = SMALL.optim.model_copy(update=optim)
    numbers = settings.model_dump()
    rng = np.random.default_rng(3)
    start = {name: rng.standard_normal(shape) for name, shape in SIZES.items()}
    gradients = [{n: rng.standard_normal(shape) for n, shape in SIZES.items()} for _ in range(5)]
    parameters = {name: framework.array(value) for name, value in start.items()}
    rule = framework.module("optimizer").Optimizer(settings, parameters)
    expected = {
        name: RULES[optimizer](numbers, [g[name] for g in gradients], start[name])
        for name in SIZES
    }
    for step, gradient in enumerate(gradients, start=1):
        numbers["lr"] = lr_at(settings, step, 5)
        rule.set_rate(numbers["lr"])
        rule.step([framework.array(gradient[name]) for name in SIZES])
        for name in SIZES:
            assert_relative(parameters[name].numpy(), next(expected[name]), 2e-6)
    assert numbers["lr"] == 0


@pytest.mark.parametrize("optimizer", RULES)
def test_another_rate_compiles_nothing_and_goes_on_to_the_bit(engine, data, optimizer):
    config = changed(
        SMALL,
        model={"ema_half_life_images": 20},
        optim={"optimizer": optimizer, "warmup_steps": 4, "decay": "cosine"},
        training={"loss_weight": "min_snr_gamma"},
    )
    unbroken = engine.trainer(config, START, last_step=9)
    run(unbroken, data)
    assert unbroken.lr == lr_at(config.optim, 3, 9) == 0.75 * config.optim.lr
    restored = engine.trainer(config, unbroken.weights(), last_step=9)
    restored.restore(unbroken.ema_weights(), unbroken.optimizer_state(), 3)
    loads = count_loads()
    run(unbroken, data)
    run(unbroken, data)
    assert count_loads() == loads
    assert unbroken.lr == 0
    run(restored, data)
    run(restored, data)
    for found, expected in (
        (restored.weights(), unbroken.weights()),
        (restored.ema_weights(), unbroken.ema_weights()),
        (restored.optimizer_state(), unbroken.optimizer_state()),
    ):
        for name, value in expected.items():
            assert np.array_equal(found[name], value), name


class Converted:
    """A network that answers with another prediction than eps, computed from it."""

    def __init__(self, unet, config):
        self._unet, self._prediction = unet, config.diffusion.prediction
        self._schedule = Schedule.from_config(config.diffusion)
        self.to_device, self.to_host = unet.to_device, unet.to_host
        self.place_labels = unet.place_labels

    def predict_on_device(self, x_t, t, labels=None):
        eps, a = self._unet.predict_on_device(x_t, t, labels), self._schedule.alpha_bar_at(t)
        return training_target(self._prediction, predict_x0(x_t, eps, a), eps, a)


@pytest.mark.parametrize("sampler", [{}, {"eta": 0.7}])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_samples_do_not_show_what_a_network_predicts(engine, prediction, sampler):
    config = changed(SMALL, diffusion={"prediction": prediction})
    unet = engine.unet(SMALL, START)
    x_T = jd.initial_noise(SMALL, indices=range(2))
    expected = jd.sample(unet, SMALL, x_T, 6, **sampler)
    found = jd.sample(Converted(unet, config), config, x_T, 6, **sampler)
    assert np.abs(found - expected).max() <= 2e-4 * np.abs(expected).max()
