"""A sample of a run's images, read where they are: no cache is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data import SOURCES, ImageSet, Source
from jittor_ddim.data.source import decode
from jittor_ddim.data.transforms import to_network
from jittor_ddim.errors import DataError

#: Enough to see every second image twice in a set of a million: some 2 million pairs.
_IMAGES = 2048
#: Pixels of a sample: 250 MB as float32.
_MOST_NUMBERS = 2**26
_PATCH = 8  # pixels; larger patches need more images than are read
#: Of the mean square distance of two images, below which they show the same. The digits' nearest
#: neighbours: 0.036 (of a hundred the nearest one), CIFAR-10's 0.093; a copy with noise of +-5 of
#: 255 in CIFAR-10: 0.0025, one saved as JPEG of quality 90 0.0005.
_SAME = 0.003
_POWERS = 20  # of power iteration; the leading variance is then known to a few percent
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Some images, drawn without replacement; of a set that is not split, held-out ones too.

    :ivar pixels: uint8 (n, H, W, C)
    :ivar total: of how many images they were drawn, undecodable ones included
    :ivar count: on how many of these a run trains
    """

    config: Config
    pixels: NDArray[np.uint8]
    total: int
    count: int

    @cached_property
    def x0(self) -> NDArray[np.float32]:
        """The network's input (n, C, H, W), as training prepares it."""
        rows = range(len(self.pixels))
        return to_network(self.pixels, self.config.data, _SEED, 0, rows)

    @cached_property
    def repeats(self) -> float:
        """How often each image is in the set, estimated; 1 without repetitions.

        Of a set of N images in which each is there c times, two different places hold the same
        image with the probability (c - 1) / (N - 1).
        """
        # Hashes: NumPy would strip zero bytes, which are black pixels, from the end of an image.
        hashes = [hash(image.tobytes()) for image in self.pixels]
        _, counts = np.unique(hashes, return_counts=True)
        pairs = float((counts * (counts - 1.0)).sum() / 2)
        possible = len(hashes) * (len(hashes) - 1) / 2
        return 1 + (pairs / possible * (self.total - 1) if possible else 0.0)

    @cached_property
    def near_repeats(self) -> float:
        """How often each image is in the set, copies with a little noise included.

        Estimated from pairs as :attr:`repeats`; 1 unless the copies are spread over the images. A
        few images that are all but blank make many pairs: of 3,712 sprites on white, 1 in 14 has a
        near one, and pairs alone would say 1.5.
        """
        near, n = _near(self.pixels), len(self.pixels)
        if n < 2:
            return 1.0
        estimate = 1 + float(near.sum()) / (n * (n - 1)) * (self.total - 1)
        # Of even copies: how many images have another of theirs in the sample.
        drawn = min(1.0, (n - 1) / max(1, self.total - 1))
        expected = 1 - (1 - drawn) ** (estimate - 1) if estimate > 1 else 1.0
        return estimate if near.any(axis=1).mean() > expected / 2 else 1.0

    @cached_property
    def variety(self) -> float:
        """Which share of the pixels' variance lies between images; 0: all are the same."""
        total = float(self.x0.var(dtype=np.float64))
        return float(self.x0.var(axis=0, dtype=np.float64).mean()) / total if total else 0.0

    @cached_property
    def leading_variance(self) -> float:
        """The variance of the whole image along its most variable direction."""
        flat = self.x0.reshape(len(self.x0), -1)
        centred = flat - flat.mean(axis=0)
        direction = np.random.default_rng(_SEED).standard_normal(flat.shape[1]).astype(np.float32)
        variance = 0.0
        for _ in range(_POWERS):
            turned = centred.T @ (centred @ direction)
            if not (variance := float(np.linalg.norm(turned)) / len(flat)):
                break
            direction = turned / np.float32(variance * len(flat))
        return variance

    @cached_property
    def patch_variances(self) -> NDArray[np.float64]:
        """The variances of patches of up to 8x8 pixels along their principal directions."""
        n, channels, height, width = self.x0.shape
        size = math.gcd(math.gcd(height, width), _PATCH) if height > _PATCH else height
        split = self.x0.reshape(n, channels, height // size, size, width // size, size)
        flat = split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, channels * size * size)
        covariance = np.cov(flat.T.astype(np.float64)).reshape(flat.shape[1], flat.shape[1])
        return np.linalg.eigvalsh(covariance).clip(0)


def read_sample(config: Config, exp: Path) -> Sample:
    """Read up to 2048 training images.

    :param exp: the experiment root; data sets are in exp/datasets
    :raises DataError: if they are missing or unreadable
    """
    source = SOURCES[config.data.dataset](config.data, "train", exp)
    most = max(2, min(_IMAGES, _MOST_NUMBERS // math.prod(config.sample_shape)))
    if isinstance(source, ImageSet):
        rows = _chosen(len(source.images), most)
        total = len(source.images)
        return Sample(config, np.asarray(source.images[rows]), total, total)
    return _decoded(config, source, most)


def _decoded(config: Config, source: Source, most: int) -> Sample:
    data, found = config.data, []
    with source.open() as (names, read):
        for row in _chosen(len(names), most):
            try:
                image = read(names[int(row)])
                size = data.image_size, data.channels, data.background, source.crop
                found.append(decode(image, *size)[0])
            except Exception:  # training leaves it out by name, and says why
                continue
        total = len(names)
    if not found:
        raise DataError(f"{source.name}: none of {min(most, total)} images can be decoded")
    held_out = max(1, total // 20) * source.both_splits
    return Sample(config, np.stack(found), total, total - held_out)


def _near(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which images show nearly the same as which others, (n, n)."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=0)  # float32 then keeps the small distances
    inner = flat @ flat.T
    squares = np.diag(inner)
    distances = squares[:, None] + squares - 2 * inner
    near = distances < _SAME * 2 * squares.mean()  # whose double is the mean distance
    np.fill_diagonal(near, False)
    return near


def _chosen(count: int, most: int) -> NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(_SEED).choice(count, most, replace=False))
