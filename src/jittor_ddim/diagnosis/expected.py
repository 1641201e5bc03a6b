"""The losses that predictors without a network would have, on a run's images and schedule.

The best predictor that is linear (Wiener's filter) knows the images' covariances alone. With
x_t = a x0 + s eps, a^2 = alpha_bar and s^2 = 1 - alpha_bar, the variance of x0 that x_t leaves
along a direction of the variance lambda is lambda s^2 / (a^2 lambda + s^2). That of eps is
a^2 / s^2 times as much, that of v 1 / s^2 times, as x0 = (x_t - s eps) / a = a x_t - s v.
"""

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.diffusion.parametrization import min_snr_weight
from jittor_ddim.diffusion.schedule import Schedule


def linear_loss(config: Config, variances: NDArray[np.float64]) -> float:
    """Return the loss per element of the best linear predictor.

    :param variances: of the images along their principal directions, (D,)
    """
    a2, s2 = _shares(config)
    left = _ratio(variances * s2[:, None], a2[:, None] * variances + s2[:, None]).mean(axis=1)
    return _weighted(config, left * _scale(config, a2, s2))


def constant_loss(config: Config, variance: float) -> float:
    """Return the loss per element of a predictor that answers the mean, whatever it sees.

    :param variance: of a pixel of the images
    """
    a2, s2 = _shares(config)
    kinds = {"eps": np.ones_like(a2), "x0": np.full_like(a2, variance), "v": a2 + s2 * variance}
    return _weighted(config, kinds[config.diffusion.prediction])


def _shares(config: Config) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    alpha_bar = Schedule.from_config(config.diffusion).alpha_bar.astype(np.float64)
    return alpha_bar, 1 - alpha_bar


def _scale(
    config: Config, a2: NDArray[np.float64], s2: NDArray[np.float64]
) -> NDArray[np.float64]:
    return {"eps": _ratio(a2, s2), "x0": np.ones_like(a2), "v": _ratio(np.ones_like(s2), s2)}[
        config.diffusion.prediction
    ]


def _weighted(config: Config, losses: NDArray[np.float64]) -> float:
    training, diffusion = config.training, config.diffusion
    if training.loss_weight != "simple":
        alpha_bar = Schedule.from_config(diffusion).alpha_bar
        losses = losses * min_snr_weight(diffusion.prediction, alpha_bar, training.min_snr_gamma)
    return float(losses.mean())


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their quotient; 0 where nothing is divided by nothing, as for black images without noise."""
    return np.divide(
        top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom > 0
    )
