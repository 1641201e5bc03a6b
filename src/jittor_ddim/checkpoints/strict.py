"""A checkpoint belongs to the network of a config, or it does not."""

from pathlib import Path
from typing import Any

from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError

#: Keys of the section `model` that change neither the parameters nor what they mean.
_NOT_ARCHITECTURE = {"dropout", "ema_rate", "ema", "var_type"}


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
