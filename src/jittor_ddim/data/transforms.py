"""Pixels to network input and back: the five preprocessing switches of the official code.

Training images go through, in this order: flip, uniform dequantization, Gaussian dequantization,
then `rescaled` or `logit_transform` (ermongroup/ddim, datasets/__init__.py). The random parts are
drawn by position in the global batch, so they depend on neither batch size nor worker.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import DataConfig
from jittor_ddim.diffusion.noise import Stream, generator, normal, uniform

_LOGIT_MARGIN = 1e-6


def to_network(
    images: NDArray[np.uint8], data: DataConfig, seed: int, step: int, indices: Sequence[int]
) -> NDArray[np.float32]:
    """Return images as network input.

    uniform_dequantization: x 255/256 + u/256, u in [0, 1); gaussian_dequantization: x + 0.01 n;
    rescaled: 2 x - 1; logit_transform: see :func:`logit`; random_flip: left to right, p = 1/2.

    :param images: uint8 (B, H, W, C)
    :param step: the training step, which addresses the random numbers
    :param indices: B positions in the global batch, which address them too
    :returns: float32 (B, C, H, W); without logit_transform and noise in [-1, 1] or [0, 1]
    """
    flipped = np.zeros(len(images), bool)
    if data.random_flip:
        draws = generator(seed, Stream.FLIP, step).random(max(indices) + 1)
        flipped = draws[np.asarray(indices)] < 0.5
    count, height, width, channels = images.shape
    x = np.empty((count, channels, height, width), np.float32)
    for row, image, flip in zip(x, images, flipped, strict=True):
        row[:] = (image[:, ::-1] if flip else image).transpose(2, 0, 1)
    x /= 255  # in place, here and below: fresh memory costs more than the arithmetic
    if data.uniform_dequantization:
        noise = uniform(seed, Stream.UNIFORM_DEQUANTIZATION, step, indices, x.shape[1:])
        x = x / 256 * 255 + noise / 256
    if data.gaussian_dequantization:
        noise = normal(seed, Stream.GAUSSIAN_DEQUANTIZATION, step, indices, x.shape[1:])
        x = x + noise * 0.01
    if data.rescaled:
        x *= 2
        x -= 1
        return x
    return logit(x) if data.logit_transform else x


def plain_input(images: NDArray[np.uint8], data: DataConfig) -> NDArray[np.float32]:
    """Return images as network input without the randomness of training, as one encodes them."""
    plain = {
        "random_flip": False,
        "uniform_dequantization": False,
        "gaussian_dequantization": False,
    }
    return to_network(images, data.model_copy(update=plain), 0, 0, range(len(images)))


def logit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(y / (1 - y)) of y = lam + (1 - 2 lam) x, lam = 1e-6.

    x is clamped to [0, 1], which it leaves only after gaussian_dequantization: the official code
    yields NaN there.
    """
    y = _LOGIT_MARGIN + (1 - 2 * _LOGIT_MARGIN) * np.clip(x.astype(np.float64), 0, 1)
    return (np.log(y) - np.log1p(-y)).astype(np.float32)


def from_network(x: NDArray[np.float32], data: DataConfig) -> NDArray[np.float32]:
    """Return network output as intensities, clamped to [0, 1].

    The inverse of `rescaled` or `logit_transform`; as in the official code dequantization and
    the logit's margin are not undone.

    :param x: float32 (B, C, H, W), any range
    """
    if data.logit_transform:
        x = (1 + np.tanh(x / 2)) / 2  # the sigmoid, without an overflowing exp
    elif data.rescaled:
        x = (x + 1) / 2
    return np.clip(x, 0, 1)


def to_uint8(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return intensities as pixels, rounded as torchvision's save_image rounds them.

    :param x: float32 (B, C, H, W) in [0, 1]
    :returns: uint8 (B, H, W, C)
    """
    pixels = np.clip(x * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
