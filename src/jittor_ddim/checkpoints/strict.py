"""A checkpoint belongs to a config, or it does not."""

from pathlib import Path
from typing import Any

from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError

#: Keys of the section `model` that change neither the parameters nor what they mean.
_NOT_ARCHITECTURE = {"dropout", "ema_rate", "ema", "ema_warmup", "var_type"}
#: Keys that say which arrays an optimiser and an average keep.
_STATE_KEYS = ("optim.optimizer", "optim.amsgrad", "model.ema")


def check_fits(stored: Config, config: Config, path: Path) -> None:
    """Check that weights trained with one config mean the same under another.

    :param stored: the checkpoint's own config
    :param path: the checkpoint, for the message
    :raises CheckpointError: naming the keys of network, schedule or preprocessing that differ
    """
    _refuse(_differences(_meaning(stored), _meaning(config)), path)


def check_resumes(stored: Config, config: Config, path: Path) -> list[str]:
    """Check that a run can go on under another config, and return what it then does otherwise.

    :returns: the keys that differ and may, such as ``optim.lr``, with both values
    :raises CheckpointError: as :func:`check_fits`, and for another optimiser or average
    """
    check_fits(stored, config, path)
    theirs, ours = flat(stored), flat(config)
    kept = {key: theirs[key] for key in _STATE_KEYS}
    _refuse(_differences(kept, {key: ours[key] for key in _STATE_KEYS}), path)
    return _differences(theirs, ours)


def flat(config: Config) -> dict[str, Any]:
    """Return every value of a config by its dotted key, such as ``model.ch``."""
    return {
        f"{section}.{key}": value
        for section, values in config.model_dump().items()
        for key, value in values.items()
    }


def _refuse(different: list[str], path: Path) -> None:
    if different:
        raise CheckpointError(
            f"{path}: trained with another config: {', '.join(different)}; "
            "use the config it was trained with"
        )


def _differences(stored: dict[str, Any], config: dict[str, Any]) -> list[str]:
    return [
        f"{key} (checkpoint {stored[key]}, config {config[key]})"
        for key in config
        if stored[key] != config[key]
    ]


def _meaning(config: Config) -> dict[str, Any]:
    """The keys that decide what weights are and mean; resolutions never reached do not."""
    data = ("image_size", "channels", "rescaled", "logit_transform")
    keys = {
        key: value
        for key, value in flat(config).items()
        if key.startswith(("model.", "diffusion.")) or key in {f"data.{name}" for name in data}
    }
    for name in _NOT_ARCHITECTURE:
        del keys[f"model.{name}"]
    reached = set(config.model.attn_resolutions) & set(config.resolutions)
    return keys | {"model.attn_resolutions": sorted(reached)}
