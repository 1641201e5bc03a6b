"""The losses that predictors without a network have, against predictors that are really fitted."""

import numpy as np
import pytest

from jittor_ddim.config import parse_config
from jittor_ddim.diagnosis.expected import constant_loss, linear_loss
from jittor_ddim.diffusion.parametrization import make_example, min_snr_weight
from jittor_ddim.diffusion.schedule import Schedule

N = 20_000


def config(**diffusion):
    training = diffusion.pop("training", {})
    return parse_config(
        {
            "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1},
            "model": {"in_channels": 1, "out_ch": 1, "ch": 32, "num_groups": 8, "ch_mult": [1]},
            "diffusion": {"num_diffusion_timesteps": 12, "beta_end": 0.6, **diffusion},
            "training": training,
        },
        "expected",
    )


CONFIGS = [
    config(),
    config(prediction="x0"),
    config(prediction="v", beta_schedule="cosine"),
    config(prediction="v", training={"loss_weight": "min_snr_gamma"}),
]


def fitted(config, x0, linear):
    """The loss of least squares at every timestep, on drawn images and noise."""
    schedule, rng = Schedule.from_config(config.diffusion), np.random.default_rng(1)
    kind, losses = config.diffusion.prediction, []
    for t in range(schedule.num_timesteps):
        eps = rng.standard_normal(x0.shape).astype(np.float32)
        x_t, _, target = make_example(schedule, x0, np.full(len(x0), t), eps, kind)
        x_t, target = (a.reshape(len(a), -1).astype(np.float64) for a in (x_t, target))
        x_t, target = x_t - x_t.mean(0), target - target.mean(0)
        if linear:
            target = target - x_t @ np.linalg.lstsq(x_t, target, rcond=None)[0]
        losses.append(np.square(target).mean())
    if config.training.loss_weight != "simple":
        losses *= min_snr_weight(kind, schedule.alpha_bar, config.training.min_snr_gamma)
    return np.mean(losses)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_linear_predictor_is_that_of_least_squares(config):
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((6, 6)) / 3
    x0 = (rng.standard_normal((N, 6)) @ mix + 0.4).reshape(N, 1, 2, 3).astype(np.float32)
    variances = np.linalg.eigvalsh(np.cov(x0.reshape(N, -1).T))
    assert linear_loss(config, variances) == pytest.approx(fitted(config, x0, True), rel=0.01)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_constant_predictor_answers_the_mean(config):
    x0 = np.random.default_rng(0).normal(0.3, 0.7, (N, 1, 2, 3)).astype(np.float32)
    expected = fitted(config, x0, False)
    assert constant_loss(config, float(x0.var(axis=0).mean())) == pytest.approx(expected, rel=0.01)


def test_black_images_and_no_noise_are_no_division():
    """jsd's alpha_bar ends at 0."""
    assert linear_loss(config(beta_schedule="jsd"), np.zeros(3)) == 0
