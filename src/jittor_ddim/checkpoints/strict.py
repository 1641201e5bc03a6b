"""Checks that a checkpoint fits a config."""

from pathlib import Path

from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, differences

#: Keys of the section `model` that change neither the parameters nor what they mean.
_NOT_ARCHITECTURE = (
    "dropout",
    "ema_rate",
    "ema_half_life_images",
    "ema",
    "ema_warmup",
    "var_type",
)
#: Keys of the section `data` that change what the network's input means.
_PREPROCESSING = ("image_size", "channels", "rescaled", "logit_transform")
#: Keys that say which arrays an optimiser and an average keep.
_STATE = ("optim.optimizer", "optim.amsgrad", "model.ema")


def check_fits(stored: Config, config: Config, path: Path, also: tuple[str, ...] = ()) -> None:
    """Check that weights trained with one config mean the same under another.

    :param stored: the checkpoint's own config
    :param path: the checkpoint, for the message
    :param also: more keys that must be equal
    :raises CheckpointError: naming the keys of network, schedule or preprocessing that differ
    """
    theirs, ours = (
        {key: value for key, value in one.flat().items() if key in also or _matters(key)}
        # Attention at resolutions that the network never reaches does not matter.
        | {"model.attn_resolutions": sorted({*one.model.attn_resolutions} & {*one.resolutions})}
        for one in (stored, config)
    )
    if different := differences(theirs, ours):
        raise CheckpointError(
            f"{path}: trained with another config: {', '.join(different)}; "
            "use the config it was trained with"
        )


def check_resumes(stored: Config, config: Config, path: Path) -> list[str]:
    """Check that a run can be resumed with another config, and return what then changes.

    :returns: the keys that may differ and do, such as ``optim.lr``, with both values
    :raises CheckpointError: as :func:`check_fits`, and for another optimiser or average
    """
    check_fits(stored, config, path, also=_STATE)
    return differences(config.flat(), stored.flat())


def _matters(key: str) -> bool:
    section, _, name = key.partition(".")
    if section == "model":
        return name not in _NOT_ARCHITECTURE
    return section == "diffusion" or section == "data" and name in _PREPROCESSING
