"""One step of each sampler: plain arithmetic on arrays of any framework.

``x_t``, ``eps`` and ``noise`` are arrays of one shape and kind (NumPy, Jittor or PyTorch); the
alpha_bars are Python floats. ``alpha_bar_next`` belongs to the timestep that the step leads to.
Equation numbers are the DDIM paper's (arXiv 2010.02502) unless another source is named.
"""

from typing import Any, TypeVar

Array = TypeVar("Array", bound=Any)


def diffuse(x0: Array, eps: Array, alpha_bar: Array) -> Array:
    """Return x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps: the forward process (eq. 4).

    :param alpha_bar: an array that broadcasts against x0, for a timestep an image
    """
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps


def predict_x0(x_t: Array, eps: Array, alpha_bar: float) -> Array:
    """Return x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar): "predicted x0" (eq. 9)."""
    return (x_t - eps * (1 - alpha_bar) ** 0.5) / alpha_bar**0.5


def clip(x: Array) -> Array:
    """Return x limited to [-1, 1]; Jittor has no ``clip`` and calls it ``clamp``."""
    return x.clip(-1, 1) if hasattr(x, "clip") else x.clamp(-1, 1)


def ddim_sigma(alpha_bar: float, alpha_bar_next: float, eta: float) -> float:
    """Return sigma = eta sqrt((1 - a_next)/(1 - a)) sqrt(1 - a/a_next) (eq. 16).

    eta = 0 is the deterministic DDIM, eta = 1 the ancestral sampler of DDPM.
    """
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    return eta * variance**0.5


def ddim_step(
    x0: Array, eps: Array, alpha_bar: float, alpha_bar_next: float, eta: float, noise: Array | None
) -> Array:
    """Return x_next = sqrt(a_next) x0 + sqrt(1 - a_next - sigma^2) eps + sigma noise (eq. 12).

    :param x0: the prediction of :func:`predict_x0`
    :param noise: standard normal; may be None where sigma is 0
    """
    sigma = ddim_sigma(alpha_bar, alpha_bar_next, eta)
    # At the last step 1 - a_next and sigma are both 0; rounding must not make the root complex.
    direction = max(1 - alpha_bar_next - sigma**2, 0.0) ** 0.5
    x_next = alpha_bar_next**0.5 * x0 + direction * eps
    return x_next if noise is None or sigma == 0 else x_next + sigma * noise


def ddpm_noisy_step(
    x_t: Array, x0: Array, alpha_bar: float, alpha_bar_next: float, noise: Array | None
) -> Array:
    """Return a DDPM step with the larger variance sigma-hat^2 = 1 - a/a_next (section 5, eta-hat).

    The mean is that of q(x_next | x_t, x0) (Ho et al. 2020, eq. 7) with beta = 1 - a/a_next.

    :param x0: the prediction, clipped to [-1, 1] by the caller as the official code does
    :param noise: standard normal, or None at the last step, which adds none
    """
    beta = 1 - alpha_bar / alpha_bar_next
    mean = (alpha_bar_next**0.5 * beta * x0 + (1 - beta) ** 0.5 * (1 - alpha_bar_next) * x_t) / (
        1 - alpha_bar
    )
    return mean if noise is None else mean + beta**0.5 * noise


def encode_step(x_t: Array, eps: Array, alpha_bar: float, alpha_bar_next: float) -> Array:
    """Return the DDIM step backwards in time, towards noise: the ODE of eq. 14, Euler forward.

    The same line as :func:`ddim_step` with eta = 0; only ``alpha_bar_next`` is now the smaller.
    """
    x0 = predict_x0(x_t, eps, alpha_bar)
    return alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next) ** 0.5 * eps
