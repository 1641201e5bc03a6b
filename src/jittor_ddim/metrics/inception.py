"""The network behind FID: InceptionV3 as of 2015-12-05, written down as data for both engines.

It is TensorFlow's, with 1008 classes. Against torchvision's InceptionV3 (Szegedy et al. 2016) its
average pools do not count the padding, and the last block's pool takes the maximum. Names and
order of the parameters are those of the published file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: The features of an image, with the number of values of each.
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

#: A convolution as a block lists it: name, outputs, height and width of its kernel, and a stride
#: if it halves the image; otherwise the image keeps its size.
_Listed = tuple[str, int, int, int] | tuple[str, int, int, int, int]
_AVERAGE = Pool("average", stride=1, padding=1)
_HALVE = Pool("max", stride=2, padding=0)


def _way(block: str, inputs: int, parts: Sequence[_Listed | Pool | Branches]) -> Iterator[Layer]:
    """Yield the layers of one way; each convolution takes the outputs of the one before it."""
    for part in parts:
        if not isinstance(part, tuple):
            yield part
            continue
        name, outputs, height, width = part[:4]
        stride = part[4] if len(part) == 5 else 1
        padding = (height // 2, width // 2) if stride == 1 else (0, 0)
        yield Conv(f"{block}.{name}", inputs, outputs, (height, width), stride, padding)
        inputs = outputs


def _block(name: str, inputs: int, *ways: Sequence[_Listed | Pool | Branches]) -> Branches:
    return Branches(tuple(tuple(_way(name, inputs, parts)) for parts in ways))


def _block_5(name: str, inputs: int, pooled: int) -> Branches:
    return _block(
        name, inputs,
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
        [_AVERAGE, ("branch_pool", pooled, 1, 1)],
    )  # fmt: skip


def _block_6a(name: str) -> Branches:
    return _block(
        name, 288,
        [("branch3x3", 384, 3, 3, 2)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3),
         ("branch3x3dbl_3", 96, 3, 3, 2)],
        [_HALVE],
    )  # fmt: skip


def _block_6(name: str, inner: int) -> Branches:
    return _block(
        name, 768,
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", inner, 1, 1), ("branch7x7_2", inner, 1, 7), ("branch7x7_3", 192, 7, 1)],
        [("branch7x7dbl_1", inner, 1, 1), ("branch7x7dbl_2", inner, 7, 1),
         ("branch7x7dbl_3", inner, 1, 7), ("branch7x7dbl_4", inner, 7, 1),
         ("branch7x7dbl_5", 192, 1, 7)],
        [_AVERAGE, ("branch_pool", 192, 1, 1)],
    )  # fmt: skip


def _block_7a(name: str) -> Branches:
    return _block(
        name, 768,
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 3, 2)],
        [("branch7x7x3_1", 192, 1, 1), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1),
         ("branch7x7x3_4", 192, 3, 3, 2)],
        [_HALVE],
    )  # fmt: skip


def _block_7(name: str, inputs: int, pool: Pool) -> Branches:
    def both(part: str) -> Branches:
        return _block(name, 384, [(f"{part}a", 384, 1, 3)], [(f"{part}b", 384, 3, 1)])

    return _block(
        name, inputs,
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), both("branch3x3_2")],
        [("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 3), both("branch3x3dbl_3")],
        [pool, ("branch_pool", 192, 1, 1)],
    )  # fmt: skip


#: From 3 channels of 299x299 to 2048 of 8x8.
LAYERS: tuple[Layer, ...] = (
    Conv("Conv2d_1a_3x3", 3, 32, (3, 3), stride=2),
    Conv("Conv2d_2a_3x3", 32, 32, (3, 3)),
    Conv("Conv2d_2b_3x3", 32, 64, (3, 3), padding=(1, 1)),
    _HALVE,
    Tap("64"),
    Conv("Conv2d_3b_1x1", 64, 80, (1, 1)),
    Conv("Conv2d_4a_3x3", 80, 192, (3, 3)),
    _HALVE,
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
    _block_7("Mixed_7b", 1280, _AVERAGE),
    _block_7("Mixed_7c", 2048, Pool("max", stride=1, padding=1)),
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
    """Return kernel and bias of every convolution with its batch normalisation folded in.

    y = (conv(x) - mean) / sqrt(variance + 0.001) weight + bias, in float64 before it is rounded.
    """
    folded = {}
    for conv in convolutions():
        bias, mean, variance, weight = (
            weights[f"{conv.name}.bn.{kind}"].astype(np.float64) for kind in _BATCH_NORM
        )
        scale = weight / np.sqrt(variance + _EPSILON)
        kernel = weights[f"{conv.name}.conv.weight"] * scale[:, None, None, None]
        folded[conv.name] = kernel.astype(np.float32), (bias - mean * scale).astype(np.float32)
    return folded
