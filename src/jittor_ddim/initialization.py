"""Fresh weights, made here and not by an engine, so that every engine starts from the same."""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.architecture import layers, parameter_shapes
from jittor_ddim.config import Config
from jittor_ddim.diffusion.noise import Stream, generator


def fresh_weights(config: Config, seed: int = 1234) -> dict[str, NDArray[np.float32]]:
    """Return untrained weights by official name, in the order of the official state dict.

    Convolutions and linear layers, weight and bias alike: U(-a, a) with a = 1/sqrt(fan_in) and
    fan_in = in_channels * kernel^2, PyTorch's default, from which the official code trains too.
    Group norms: weight 1, bias 0. The embedding of classes: 0, so that a network starts as the one
    without classes, from whose weights it may go on. The random numbers of a parameter follow from
    the seed and its name alone, so a layer added elsewhere changes no other.

    :param seed: 0 … 2^64 - 1
    :raises UserError: if the seed is out of range
    """
    arguments.instance("config", config, Config, "a Config, as load_config returns it")
    seed = arguments.seed(seed)
    weights = {}
    for layer in layers(config):
        for name, shape in layer.parameters.items():
            if layer.kind == "groupnorm":
                value = 1.0 if name.endswith(".weight") else 0.0
                weights[name] = np.full(shape, value, np.float32)
            elif layer.kind == "embedding":
                weights[name] = np.zeros(shape, np.float32)
            else:
                fan_in = math.prod(layer.parameters[f"{layer.name}.weight"][1:])
                weights[name] = _uniform(seed, name, shape, 1 / math.sqrt(fan_in))
    return {name: weights[name] for name in parameter_shapes(config)}


def _uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> NDArray[np.float32]:
    rng = generator(seed, Stream.WEIGHTS, index=zlib.crc32(name.encode()))
    draw = rng.random(shape, dtype=np.float32)  # [0, 1), half the time of float64
    return (draw * 2 - 1) * np.float32(bound)
