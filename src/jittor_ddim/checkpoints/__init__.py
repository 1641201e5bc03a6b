"""Weights by the official names, from and to any supported file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints import native
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError, UserError, WeightsError

_FORMATS = ("native",)
_SUFFIX = ".safetensors"
_CONFIG = "config"  # the metadata entry that makes a file of weights self-contained


def load_weights(path: str | Path, ema: bool = True) -> dict[str, NDArray[np.float32]]:
    """Read a network's weights as a mapping from the official names to float32 arrays.

    :param path: a run folder (its newest checkpoint), a ``ckpt_N`` folder, or a safetensors file
        with official names
    :param ema: of a checkpoint, the moving average; the plain weights if the run keeps none
    :raises CheckpointError: if it is missing, damaged or of an unknown format
    :raises WeightsError: if the weights do not fit the config that is stored with them
    """
    return read_weights(Path(path), ema)[0]


def read_weights(
    path: Path, ema: bool = True
) -> tuple[dict[str, NDArray[np.float32]], Config | None]:
    """Read weights, and the config that is stored with them, if one is.

    Arguments and errors as :func:`load_weights`.
    """
    if path.is_dir():
        weights, config = native.read_weights(path, ema)
    elif not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    elif path.suffix == _SUFFIX or _is_safetensors(path):
        weights, config = _read_file(path)
    else:
        raise CheckpointError(
            f"{path}: format not recognised; give a run folder, a ckpt_N folder or a "
            f"{_SUFFIX} file"
        )
    if config is not None:
        _check(weights, config, path)
    return weights, config


def save_weights(
    path: str | Path,
    weights: Mapping[str, NDArray[np.float32]],
    config: Config,
    format: str = "native",
) -> None:
    """Write weights so that :func:`load_weights` reads them back.

    :param path: of the file to write; its usual suffix is ``.safetensors``
    :param format: ``native``, a safetensors file that also carries the config
    :raises UserError: if the format is unknown, or the path is wrong
    :raises WeightsError: if the weights do not fit the config
    :raises MachineError: if the disk is full or read-only; a file already there is untouched
    """
    path = Path(path)
    if format not in _FORMATS:
        raise UserError(f"{format}: no such checkpoint format; there is {', '.join(_FORMATS)}")
    _check(weights, config, path)
    write_atomic(path, native.to_safetensors(dict(weights), {_CONFIG: config.model_dump_json()}))


def _check(weights: Mapping[str, NDArray[Any]], config: Config, path: Path) -> None:
    try:
        check_weights(weights, parameter_shapes(config))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def _is_safetensors(path: Path) -> bool:
    """Tell by the content: eight bytes of length, then a JSON object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False


def _read_file(path: Path) -> tuple[dict[str, NDArray[Any]], Config | None]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: not a readable {_SUFFIX} file ({line[:120]}); get it anew"
        ) from None
    try:
        config = Config.model_validate_json(metadata[_CONFIG]) if _CONFIG in metadata else None
    except ValueError:
        raise CheckpointError(f"{path}: the config in its metadata is wrong") from None
    return weights, config
