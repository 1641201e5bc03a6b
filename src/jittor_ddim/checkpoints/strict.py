"""Weights, or a whole checkpoint, fit a network exactly, or they do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, WeightsError

#: Keys of the section `model` that change neither the parameters nor what they mean.
_NOT_ARCHITECTURE = {"dropout", "ema_rate", "ema", "var_type"}
_SHOWN = 3  # of each kind; a wrong architecture has hundreds


def check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that weights have exactly the names and shapes of a network, all float32.

    :param shapes: by name, from :func:`jittor_ddim.architecture.parameter_shapes`
    :raises WeightsError: naming what is missing, unknown, of another shape or of another type
    """
    common = [name for name in shapes if name in weights]
    problems = {
        "missing": [name for name in shapes if name not in weights],
        "unknown": [name for name in weights if name not in shapes],
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


def check_fits(stored: Config, config: Config, path: Path) -> None:
    """Check that a checkpoint's config describes the same network as the config in use.

    :param path: the checkpoint, for the message
    :raises CheckpointError: naming the keys that differ
    """
    theirs, ours = _architecture(stored), _architecture(config)
    different = [
        f"{key} (checkpoint {theirs[key]}, config {ours[key]})"
        for key in ours
        if theirs[key] != ours[key]
    ]
    if different:
        raise CheckpointError(
            f"{path}: a checkpoint of another network: {', '.join(different)} differ; "
            "use the config it was trained with"
        )


def _architecture(config: Config) -> dict[str, Any]:
    """The keys that define the network; resolutions that it never reaches do not."""
    keys = {f"data.{key}": getattr(config.data, key) for key in ("image_size", "channels")}
    for key, value in config.model:
        if key not in _NOT_ARCHITECTURE:
            keys[f"model.{key}"] = value
    reached = set(config.model.attn_resolutions) & set(config.resolutions)
    return keys | {"model.attn_resolutions": sorted(reached)}
