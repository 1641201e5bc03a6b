"""The golden data, and the weights they were made with; see golden/README.md."""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import parse_config
from jittor_ddim.metrics.inception import parameter_shapes

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    """Return what golden/{name}.npz holds: arrays, scalars as Python numbers, a parsed Config.

    The two official keys that have no effect are left out of the config: each would warn.
    """
    with np.load(GOLDEN / f"{name}.npz") as file:
        data: dict[str, Any] = {key: file[key] for key in file.files}
    data = {key: value.item() if value.ndim == 0 else value for key, value in data.items()}
    if "config" in data:
        tree = json.loads(data["config"])
        del tree["model"]["var_type"], tree["sampling"]["last_only"]
        data["config"] = parse_config(tree, name)
    return data


def recipe_weights(
    shapes: Mapping[str, tuple[int, ...]], salt: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return the weights that belong to the golden outputs, by parameter name."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([zlib.crc32(name.encode()), salt])
        z = rng.standard_normal(shape)
        if len(shape) >= 2:
            z = z / math.sqrt(math.prod(shape[1:]))
        else:
            z = 0.1 * z + (1.0 if name.endswith("weight") else 0.0)
        weights[name] = z.astype(np.float32)
    return weights


def inception_recipe_weights() -> dict[str, NDArray[np.float32]]:
    """Return the weights of the Inception network that belong to the golden features."""
    weights = {}
    for name, shape in parameter_shapes().items():
        z = np.random.default_rng([zlib.crc32(name.encode()), 0]).standard_normal(shape)
        if len(shape) >= 2:
            z = z * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith("running_var"):
            z = 1 + 0.1 * abs(z)
        else:
            z = 0.1 * z + (1.0 if name.endswith("weight") else 0.0)
        weights[name] = z.astype(np.float32)
    return weights
