"""What the network predicts, and how image, noise and prediction follow from one another.

Arrays are of any framework; alpha_bar is a float or an array that broadcasts against them.
The network predicts ``eps`` (Ho et al. 2020, eq. 14), ``x0`` (there, section 3.2), or
``v`` = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans & Ho 2022, section 4, appendix D).
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.diffusion.schedule import Schedule

Floats = NDArray[np.float32]
Array = TypeVar("Array", bound=Any)

PREDICTIONS = ("eps", "x0", "v")


def diffuse(x0: Array, eps: Array, alpha_bar: Any) -> Array:
    """Return x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps (DDIM eq. 4)."""
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps


def predict_x0(x_t: Array, eps: Array, alpha_bar: Any) -> Array:
    """Return x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) (DDIM eq. 9)."""
    return (x_t - eps * (1 - alpha_bar) ** 0.5) / alpha_bar**0.5


def training_target(prediction: str, x0: Array, eps: Array, alpha_bar: Any) -> Array:
    """Return what the network must answer at x_t = :func:`diffuse` (x0, eps, alpha_bar)."""
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    if prediction == "v":
        return alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * x0
    raise ValueError(f"unknown prediction {prediction!r}")


def x0_and_eps(prediction: str, output: Array, x_t: Array, alpha_bar: Any) -> tuple[Array, Array]:
    """Return the x0 and eps that the network's output at x_t stands for; alpha_bar in (0, 1).

    For ``x0`` and ``v`` alpha_bar may be 0.
    """
    if prediction == "eps":
        return predict_x0(x_t, output, alpha_bar), output
    if prediction == "x0":
        return output, (x_t - output * alpha_bar**0.5) / (1 - alpha_bar) ** 0.5
    if prediction == "v":
        x0 = alpha_bar**0.5 * x_t - (1 - alpha_bar) ** 0.5 * output
        return x0, (1 - alpha_bar) ** 0.5 * x_t + alpha_bar**0.5 * output
    raise ValueError(f"unknown prediction {prediction!r}")


def min_snr_weight(prediction: str, alpha_bar: NDArray[Any], gamma: float) -> NDArray[np.float64]:
    """Return the weights of images in the loss, by their alpha_bar in [0, 1).

    Hang et al. 2023 (arXiv 2303.09556), section 3.4: min(snr, gamma) for x0, divided by snr for
    eps and by snr + 1 for v, with snr = alpha_bar / (1 - alpha_bar). At snr = 0, where sampling
    begins after a zero-terminal-SNR schedule, the formulas for x0 and v give 0: such a timestep
    would never be learnt, so it has the weight 1 there.
    """
    alpha_bar = alpha_bar.astype(np.float64)
    snr = alpha_bar / (1 - alpha_bar)
    if prediction == "eps":
        return gamma / np.maximum(snr, gamma)  # 1 at snr = 0
    clamped = np.where(snr == 0, 1.0, np.minimum(snr, gamma))
    if prediction == "x0":
        return clamped
    if prediction == "v":
        return clamped / (snr + 1)
    raise ValueError(f"unknown prediction {prediction!r}")


def loss_scales(config: Config, alpha_bar: NDArray[Any]) -> Floats | None:
    """Return the root of the loss's weight at each timestep, (T,), or None where all are 1."""
    if config.training.loss_weight == "simple":
        return None
    gamma = config.training.min_snr_gamma
    weights = min_snr_weight(config.diffusion.prediction, alpha_bar, gamma)
    return np.sqrt(weights).astype(np.float32)


def make_example(
    schedule: Schedule, x0: Floats, t: NDArray[Any], eps: Floats, prediction: str = "eps"
) -> tuple[Floats, NDArray[Any], Floats]:
    """Return (x_t, t, target): what the network is given in training, and what it must answer.

    :param x0: (B, C, H, W), network input
    :param t: (B,), in 0 … T-1
    :param eps: (B, C, H, W), standard normal
    """
    alpha_bar = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
    return diffuse(x0, eps, alpha_bar), t, training_target(prediction, x0, eps, alpha_bar)
