"""Pipelines of diffusers: folders with the U-Net's weights and two JSON files.

A pipeline has its parts in ``unet/`` and ``scheduler/``, or all of them side by side.
"""

import json
from pathlib import Path
from typing import Any

from jittor_ddim.architecture import check_weights, parameter_shapes
from jittor_ddim.atomic import creating_folder, sync_folder, write_synced
from jittor_ddim.checkpoints.contents import Contents
from jittor_ddim.checkpoints.diffusers_config import (
    pipeline_json,
    read_config,
    scheduler_json,
    unet_json,
)
from jittor_ddim.checkpoints.diffusers_names import to_diffusers
from jittor_ddim.checkpoints.native import Arrays, to_safetensors
from jittor_ddim.config import Config
from jittor_ddim.errors import CheckpointError

_UNET, _SCHEDULER = "unet", "scheduler"
_CONFIG, _SCHEDULER_CONFIG, _INDEX = "config.json", "scheduler_config.json", "model_index.json"
_WEIGHTS = "diffusion_pytorch_model"
_SUFFIXES = (".safetensors", ".bin")


def is_pipeline(folder: Path) -> bool:
    """Tell whether a folder is a pipeline, or a pipeline's U-Net."""
    names = (_INDEX, f"{_UNET}/{_CONFIG}", *(f"{_WEIGHTS}{suffix}" for suffix in _SUFFIXES))
    return any((folder / name).is_file() for name in names)


def weights_file(folder: Path) -> Path:
    """Return the file with a pipeline's weights.

    :raises CheckpointError: if there is none
    """
    for suffix in _SUFFIXES:
        path = _unet_folder(folder) / f"{_WEIGHTS}{suffix}"
        if path.is_file():
            return path
    raise CheckpointError(
        f"{_unet_folder(folder)}: no {_WEIGHTS}.safetensors or .bin here; download the whole "
        "pipeline"
    )


def config_beside(file: Path) -> Config | None:
    """Return the config that lies beside a file of a pipeline's weights, if one does.

    :raises CheckpointError: if it describes another network than there can be here
    """
    if not file.name.startswith(_WEIGHTS) or not (file.parent / _CONFIG).is_file():
        return None
    places = (file.parent / _SCHEDULER_CONFIG, file.parents[1] / _SCHEDULER / _SCHEDULER_CONFIG)
    scheduler = next((_read_json(path) for path in places if path.is_file()), {})
    path = file.parent / _CONFIG
    return read_config(_read_json(path), scheduler, path)


def write_pipeline(folder: Path, weights: Arrays, config: Config) -> None:
    """Write a folder that ``DDIMPipeline.from_pretrained`` loads.

    :raises UserError: if the folder exists, or diffusers has no such network
    :raises MachineError: if the disk is full or read-only; then there is no folder
    """
    unet, scheduler = unet_json(config), scheduler_json(config)
    data = to_safetensors(to_diffusers(weights), {"format": "pt"})
    with creating_folder(folder) as fresh:
        for part in (_UNET, _SCHEDULER):
            (fresh / part).mkdir()
        write_synced(fresh / _INDEX, _json(pipeline_json()))
        write_synced(fresh / _UNET / _CONFIG, _json(unet))
        write_synced(fresh / _UNET / f"{_WEIGHTS}{_SUFFIXES[0]}", data)
        write_synced(fresh / _SCHEDULER / _SCHEDULER_CONFIG, _json(scheduler))
        for part in (_UNET, _SCHEDULER):
            sync_folder(fresh / part)


def in_official_order(contents: Contents) -> Contents:
    """Return a pipeline's contents with the weights in the order of the official state dict.

    :raises WeightsError: if they do not fit their config
    """
    assert contents.config
    shapes = parameter_shapes(contents.config)
    check_weights(contents.weights, shapes)
    ordered = {name: contents.weights[name] for name in shapes}
    return Contents(contents.format, ordered, config=contents.config)


def _unet_folder(folder: Path) -> Path:
    return folder / _UNET if (folder / _UNET).is_dir() else folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged, not JSON") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read, {error.strerror}") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: not the config of a model")
    return tree


def _json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()
