"""The official DDIM U-Net as a table, without a framework: names, shapes, parameters and cost.

The network is that of Ho et al., "Denoising Diffusion Probabilistic Models" (2020), appendix B, in
the layout of the DDIM code, whose parameter names all checkpoints here use. Engines build the same
network; :func:`check_weights` and the tests compare them with this table.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.errors import WeightsError

Shape = tuple[int, ...]

#: What group normalisation adds to the variance.
NORM_EPSILON = 1e-6

#: The top-level modules in the order in which the official code defines them; it has no classes.
_STAGES = ("temb", "conv_in", "down", "mid", "up", "norm_out", "conv_out", "class_embedding")
#: The parts of a level, likewise.
_PARTS = ("block", "attn", "downsample", "upsample")
_SHOWN = 3  # names of each kind in an error; a wrong architecture has hundreds


@dataclass(frozen=True)
class Layer:
    """One operation of the U-Net; shapes are (C, H, W) or (C,), without the batch.

    ``kind`` is one of linear, conv3x3, conv1x1, groupnorm, attention (the two matrix products and
    the softmax between them), downsample (a 3x3 convolution of stride 2 after one row and column
    of zeros at the bottom and the right, or the mean of 2x2 pixels), upsample (nearest, twice) and
    embedding (a row of a table, added to the embedding of the timestep).

    ``flops`` counts two for each multiply-add of convolutions, linear layers and attention per
    image, and nothing for biases, norms, activations, sums and resampling.
    """

    name: str
    kind: str
    in_shape: Shape
    out_shape: Shape
    parameters: dict[str, Shape] = field(default_factory=dict)
    flops: int = 0

    @property
    def stage(self) -> str:
        """The part of the U-Net: temb, class_embedding, conv_in, down.0, …, mid, …, conv_out."""
        stage, _, rest = self.name.partition(".")
        return f"{stage}.{rest.partition('.')[0]}" if stage in ("down", "up") else stage

    @property
    def parameter_count(self) -> int:
        """The number of scalars in its parameters."""
        return sum(math.prod(shape) for shape in self.parameters.values())


def layers(config: Config) -> list[Layer]:
    """Return the layers of the U-Net in the order of execution."""
    return list(_walk(config))


def parameter_shapes(config: Config) -> dict[str, Shape]:
    """Return each parameter's shape by its official name, in the order of the official state dict.

    Convolutions are (out, in, kernel, kernel), linear layers (out, in). The embedding of N classes
    is the last: (N + 1, 4 ch), with a row for each class and one for none.
    """
    ordered = sorted(_walk(config), key=_definition_order)  # stable: equal keys stay as executed
    return {name: shape for layer in ordered for name, shape in layer.parameters.items()}


def backward_order(config: Config) -> list[int]:
    """Return the places of the parameters, last layers first.

    :returns: places in :func:`parameter_shapes`; about as a backward pass has their gradients
    """
    places = {name: place for place, name in enumerate(parameter_shapes(config))}
    return [places[name] for layer in reversed(layers(config)) for name in layer.parameters]


def count_parameters(config: Config) -> int:
    """Return the number of trainable scalars."""
    return sum(layer.parameter_count for layer in _walk(config))


def flops(config: Config) -> int:
    """Return the floating-point operations of a forward pass of one image; see :class:`Layer`."""
    return sum(layer.flops for layer in _walk(config))


def check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that weights fit a network, see :func:`check_shapes`, and are finite.

    :raises WeightsError: naming what is wrong
    """
    check_shapes(weights, shapes)
    if fault := not_finite(weights):
        raise WeightsError(fault)


def check_shapes(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that weights have exactly the names and shapes of a network, all float32.

    :param shapes: by name, from :func:`parameter_shapes`
    :raises WeightsError: naming what is missing, unknown or of another shape or type
    """
    arguments.instance("weights", weights, Mapping, "arrays by their official names")
    no_arrays = [name for name, array in weights.items() if not isinstance(array, np.ndarray)]
    common = [name for name in shapes if name in weights and name not in no_arrays]
    problems = {
        "missing": [name for name in shapes if name not in weights],
        "unknown": [name for name in weights if name not in shapes],
        "not NumPy arrays": no_arrays,
        "of another shape": [
            f"{name} {weights[name].shape} instead of {tuple(shapes[name])}"
            for name in common
            if weights[name].shape != tuple(shapes[name])
        ],
        "not float32": [
            f"{name} {weights[name].dtype}" for name in common if weights[name].dtype != np.float32
        ],
    }
    found = [
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for kind, names in problems.items()
        if names
    ]
    if found:
        raise WeightsError(
            f"the weights do not fit the network: {'; '.join(found)}; "
            "use the config they were trained with"
        )


def not_finite(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Return which array holds a value that is not finite, and the remedy; None if none does.

    Such weights make black images and plausible distances.
    """
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not bad:
        return None
    array = arrays[bad[0]]
    where = np.argwhere(~np.isfinite(array))
    value = array[tuple(where[0])]
    others = f", as {len(bad) - 1} more of {len(arrays)} tensors" if bad[1:] else ""
    return (
        f"{bad[0][:80]} is not finite ({len(where)} of its {array.size} values, such as {value})"
        f"{others}; get a new copy of the file, or use an earlier checkpoint"
    )


def _definition_order(layer: Layer) -> tuple[int, int, int]:
    """A level executes block 0, attn 0, block 1, … but is defined as all blocks, then all attn."""
    stage, *rest = layer.name.split(".")
    if stage in ("down", "up"):
        return _STAGES.index(stage), int(rest[0]), _PARTS.index(rest[1])
    return _STAGES.index(stage), 0, 0


def _walk(config: Config) -> Iterator[Layer]:
    model, size = config.model, config.data.image_size
    blocks = model.num_res_blocks
    last = len(model.ch_mult) - 1
    yield _linear("temb.dense.0", model.ch, 4 * model.ch)
    yield _linear("temb.dense.1", 4 * model.ch, 4 * model.ch)
    if model.num_classes is not None:
        rows, width = model.num_classes + 1, 4 * model.ch
        table = {"class_embedding.weight": (rows, width)}
        yield Layer("class_embedding", "embedding", (rows,), (width,), table)
    yield _conv("conv_in", (model.in_channels, size, size), model.ch)

    channels = model.ch
    skips = [channels]  # channels of each feature map that the decoder concatenates
    for level, mult in enumerate(model.ch_mult):
        size = config.resolutions[level]
        for i in range(blocks):
            yield from _res_block(config, f"down.{level}.block.{i}", channels, mult, size)
            channels = model.ch * mult
            if size in model.attn_resolutions:
                yield from _attention(f"down.{level}.attn.{i}", (channels, size, size))
            skips.append(channels)
        if level < last:
            yield _downsample(config, f"down.{level}.downsample", (channels, size, size))
            skips.append(channels)

    yield from _res_block(config, "mid.block_1", channels, model.ch_mult[-1], size)
    yield from _attention("mid.attn_1", (channels, size, size))
    yield from _res_block(config, "mid.block_2", channels, model.ch_mult[-1], size)

    for level, mult in reversed(list(enumerate(model.ch_mult))):
        size = config.resolutions[level]
        for i in range(blocks + 1):
            joined = channels + skips.pop()
            yield from _res_block(config, f"up.{level}.block.{i}", joined, mult, size)
            channels = model.ch * mult
            if size in model.attn_resolutions:
                yield from _attention(f"up.{level}.attn.{i}", (channels, size, size))
        if level > 0:
            yield from _upsample(config, f"up.{level}.upsample", (channels, size, size))

    yield _norm("norm_out", (channels, size, size))
    yield _conv("conv_out", (channels, size, size), model.out_ch)


def _res_block(
    config: Config, name: str, in_channels: int, mult: int, size: int
) -> Iterator[Layer]:
    model = config.model
    out_channels = model.ch * mult
    into, out = (in_channels, size, size), (out_channels, size, size)
    yield _norm(f"{name}.norm1", into)
    yield _conv(f"{name}.conv1", into, out_channels)
    yield _linear(f"{name}.temb_proj", 4 * model.ch, out_channels)
    yield _norm(f"{name}.norm2", out)
    yield _conv(f"{name}.conv2", out, out_channels)
    if in_channels != out_channels:
        if model.conv_shortcut:
            yield _conv(f"{name}.conv_shortcut", into, out_channels)
        else:
            yield _conv(f"{name}.nin_shortcut", into, out_channels, kernel=1)


def _attention(name: str, shape: Shape) -> Iterator[Layer]:
    channels, height, width = shape
    yield _norm(f"{name}.norm", shape)
    for part in ("q", "k", "v"):
        yield _conv(f"{name}.{part}", shape, channels, kernel=1)
    products = 2 * (2 * channels * (height * width) ** 2)  # q k^T, then its softmax times v
    yield Layer(name, "attention", shape, shape, flops=products)
    yield _conv(f"{name}.proj_out", shape, channels, kernel=1)


def _downsample(config: Config, name: str, shape: Shape) -> Layer:
    channels, height, width = shape
    half = (channels, height // 2, width // 2)
    if not config.model.resamp_with_conv:
        return Layer(name, "downsample", shape, half)
    conv = _conv(f"{name}.conv", half, channels)  # a stride of 2 costs what its output costs
    return Layer(conv.name, "downsample", shape, half, conv.parameters, conv.flops)


def _upsample(config: Config, name: str, shape: Shape) -> Iterator[Layer]:
    channels, height, width = shape
    double = (channels, 2 * height, 2 * width)
    yield Layer(name, "upsample", shape, double)
    if config.model.resamp_with_conv:
        yield _conv(f"{name}.conv", double, channels)


def _conv(name: str, in_shape: Shape, out_channels: int, kernel: int = 3) -> Layer:
    in_channels, height, width = in_shape
    weight = (out_channels, in_channels, kernel, kernel)
    return Layer(
        name,
        f"conv{kernel}x{kernel}",
        in_shape,
        (out_channels, height, width),
        {f"{name}.weight": weight, f"{name}.bias": (out_channels,)},
        2 * math.prod(weight) * height * width,
    )


def _linear(name: str, in_features: int, out_features: int) -> Layer:
    weight = (out_features, in_features)
    parameters = {f"{name}.weight": weight, f"{name}.bias": (out_features,)}
    return Layer(
        name, "linear", (in_features,), (out_features,), parameters, 2 * math.prod(weight)
    )


def _norm(name: str, shape: Shape) -> Layer:
    channels = shape[:1]
    return Layer(
        name, "groupnorm", shape, shape, {f"{name}.weight": channels, f"{name}.bias": channels}
    )
