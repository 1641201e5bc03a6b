"""The network behind FID: InceptionV3 as of 2015-12-05, written down as data for both engines.

It is TensorFlow's, with 1008 classes. Against torchvision's InceptionV3 (Szegedy et al. 2016) its
average pools do not count the padding, and the last block's pool takes the maximum. Names and
order of the parameters are those of the published file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: What can be had of an image, with the number of values.
TAPS = {
    "64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008
}  # fmt: skip
SIZE = 299  #: height and width of its input
_EPSILON = 1e-3  # of batch normalisation
_BATCH_NORM = ("bias", "running_mean", "running_var", "weight")


@dataclass(frozen=True)
class Conv:
    """A convolution, batch normalisation and ReLU."""

    name: str
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Pool:
    """A 3x3 pool; an average does not count the padding."""

    kind: Literal["max", "average"]
    stride: int
    padding: int


@dataclass(frozen=True)
class Tap:
    """The place where the mean over the image is a feature."""

    feature: str


@dataclass(frozen=True)
class Branches:
    """Ways that all begin with the same input, joined along the channels."""

    ways: tuple[tuple["Layer", ...], ...]


Layer = Conv | Pool | Tap | Branches


def _same(name: str, inputs: int, outputs: int, height: int, width: int) -> Conv:
    """A convolution that keeps the size."""
    return Conv(name, inputs, outputs, (height, width), 1, (height // 2, width // 2))


def _halving(name: str, inputs: int, outputs: int) -> Conv:
    return Conv(name, inputs, outputs, (3, 3), stride=2)


_HALVING_POOL = Pool("max", stride=2, padding=0)


def _block_5(name: str, inputs: int, pooled: int) -> Branches:
    return Branches((
        (_same(f"{name}.branch1x1", inputs, 64, 1, 1),),
        (
            _same(f"{name}.branch5x5_1", inputs, 48, 1, 1),
            _same(f"{name}.branch5x5_2", 48, 64, 5, 5),
        ),
        (
            _same(f"{name}.branch3x3dbl_1", inputs, 64, 1, 1),
            _same(f"{name}.branch3x3dbl_2", 64, 96, 3, 3),
            _same(f"{name}.branch3x3dbl_3", 96, 96, 3, 3),
        ),
        (Pool("average", 1, 1), _same(f"{name}.branch_pool", inputs, pooled, 1, 1)),
    ))  # fmt: skip


def _block_6a(name: str) -> Branches:
    return Branches((
        (_halving(f"{name}.branch3x3", 288, 384),),
        (
            _same(f"{name}.branch3x3dbl_1", 288, 64, 1, 1),
            _same(f"{name}.branch3x3dbl_2", 64, 96, 3, 3),
            _halving(f"{name}.branch3x3dbl_3", 96, 96),
        ),
        (_HALVING_POOL,),
    ))  # fmt: skip


def _block_6(name: str, inner: int) -> Branches:
    return Branches((
        (_same(f"{name}.branch1x1", 768, 192, 1, 1),),
        (
            _same(f"{name}.branch7x7_1", 768, inner, 1, 1),
            _same(f"{name}.branch7x7_2", inner, inner, 1, 7),
            _same(f"{name}.branch7x7_3", inner, 192, 7, 1),
        ),
        (
            _same(f"{name}.branch7x7dbl_1", 768, inner, 1, 1),
            _same(f"{name}.branch7x7dbl_2", inner, inner, 7, 1),
            _same(f"{name}.branch7x7dbl_3", inner, inner, 1, 7),
            _same(f"{name}.branch7x7dbl_4", inner, inner, 7, 1),
            _same(f"{name}.branch7x7dbl_5", inner, 192, 1, 7),
        ),
        (Pool("average", 1, 1), _same(f"{name}.branch_pool", 768, 192, 1, 1)),
    ))  # fmt: skip


def _block_7a(name: str) -> Branches:
    return Branches((
        (
            _same(f"{name}.branch3x3_1", 768, 192, 1, 1),
            _halving(f"{name}.branch3x3_2", 192, 320),
        ),
        (
            _same(f"{name}.branch7x7x3_1", 768, 192, 1, 1),
            _same(f"{name}.branch7x7x3_2", 192, 192, 1, 7),
            _same(f"{name}.branch7x7x3_3", 192, 192, 7, 1),
            _halving(f"{name}.branch7x7x3_4", 192, 192),
        ),
        (_HALVING_POOL,),
    ))  # fmt: skip


def _block_7(name: str, inputs: int, pool: Literal["max", "average"]) -> Branches:
    def both_ways(stem: str) -> Branches:
        return Branches((
            (_same(f"{name}.{stem}a", 384, 384, 1, 3),),
            (_same(f"{name}.{stem}b", 384, 384, 3, 1),),
        ))  # fmt: skip

    return Branches((
        (_same(f"{name}.branch1x1", inputs, 320, 1, 1),),
        (_same(f"{name}.branch3x3_1", inputs, 384, 1, 1), both_ways("branch3x3_2")),
        (
            _same(f"{name}.branch3x3dbl_1", inputs, 448, 1, 1),
            _same(f"{name}.branch3x3dbl_2", 448, 384, 3, 3),
            both_ways("branch3x3dbl_3"),
        ),
        (Pool(pool, 1, 1), _same(f"{name}.branch_pool", inputs, 192, 1, 1)),
    ))  # fmt: skip


#: From 3 channels of 299x299 to 2048 of 8x8.
LAYERS: tuple[Layer, ...] = (
    Conv("Conv2d_1a_3x3", 3, 32, (3, 3), stride=2),
    Conv("Conv2d_2a_3x3", 32, 32, (3, 3)),
    _same("Conv2d_2b_3x3", 32, 64, 3, 3),
    _HALVING_POOL,
    Tap("64"),
    Conv("Conv2d_3b_1x1", 64, 80, (1, 1)),
    Conv("Conv2d_4a_3x3", 80, 192, (3, 3)),
    _HALVING_POOL,
    Tap("192"),
    _block_5("Mixed_5b", 192, 32),
    _block_5("Mixed_5c", 256, 64),
    _block_5("Mixed_5d", 288, 64),
    _block_6a("Mixed_6a"),
    _block_6("Mixed_6b", 128),
    _block_6("Mixed_6c", 160),
    _block_6("Mixed_6d", 160),
    _block_6("Mixed_6e", 192),
    Tap("768"),
    _block_7a("Mixed_7a"),
    _block_7("Mixed_7b", 1280, "average"),
    _block_7("Mixed_7c", 2048, "max"),
    Tap("2048"),
)


def convolutions(layers: tuple[Layer, ...] = LAYERS) -> Iterator[Conv]:
    """Yield all convolutions in the order of their definition."""
    for layer in layers:
        if isinstance(layer, Conv):
            yield layer
        elif isinstance(layer, Branches):
            for way in layer.ways:
                yield from convolutions(way)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parameters by their published names.

    The counters ``num_batches_tracked``, which the published file has too, are left out.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions():
        shapes[f"{conv.name}.conv.weight"] = (conv.outputs, conv.inputs, *conv.kernel)
        shapes |= {f"{conv.name}.bn.{kind}": (conv.outputs,) for kind in _BATCH_NORM}
    shapes["fc.weight"] = (TAPS["logits"], TAPS["2048"])
    shapes["fc.bias"] = (TAPS["logits"],)
    return shapes


def fold(weights: Mapping[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Return kernel and bias of every convolution, batch normalisation taken in.

    y = (conv(x) - mean) / sqrt(variance + 0.001) weight + bias, in float64 before it is rounded.
    """
    folded = {}
    for conv in convolutions():
        bias, mean, variance, weight = (
            weights[f"{conv.name}.bn.{kind}"].astype(np.float64) for kind in _BATCH_NORM
        )
        scale = weight / np.sqrt(variance + _EPSILON)
        kernel = weights[f"{conv.name}.conv.weight"] * scale[:, None, None, None]
        folded[conv.name] = (
            kernel.astype(np.float32),
            (bias - mean * scale).astype(np.float32),
        )
    return folded
