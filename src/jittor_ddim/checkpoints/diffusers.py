"""diffusers pipelines: folders with the U-Net's weights and two JSON files.

The parts are in ``unet/`` and ``scheduler/``, or side by side. The weights are one file or an
index of several, with or without a variant in the name.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import creating_folder, sync_folder, write_synced
from jittor_ddim.checkpoints.contents import Arrays
from jittor_ddim.checkpoints.diffusers_config import (
    pipeline_json,
    read_config,
    scheduler_json,
    unet_json,
)
from jittor_ddim.checkpoints.diffusers_names import to_diffusers
from jittor_ddim.checkpoints.native import read_json
from jittor_ddim.checkpoints.safetensors_files import SUFFIX, to_safetensors
from jittor_ddim.config import Config
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.errors import CheckpointError, naming

_UNET, _SCHEDULER = "unet", "scheduler"
_CONFIG, _SCHEDULER_CONFIG, _INDEX = "config.json", "scheduler_config.json", "model_index.json"
_WEIGHTS = "diffusion_pytorch_model"
_FILE = re.compile(
    rf"(?!.*-\d+-of-\d+){_WEIGHTS}(?:\.(?P<variant>.+))?\.(?P<kind>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<other>.+))?\.json)?"
)
#: The variants in full precision, best first; "" is none.
_FULL = ("", "ema", "fp32")
_WITHOUT_AVERAGE = "non_ema"
_log = logging.getLogger(__name__)


def is_pipeline(folder: Path) -> bool:
    """Tell whether a folder is a pipeline, or a pipeline's U-Net."""
    if any((folder / name).is_file() for name in (_INDEX, f"{_UNET}/{_CONFIG}")):
        return True
    return bool(_weights_files(folder))


def weights_file(folder: Path) -> Path:
    """Return the file with a pipeline's weights, or the index of several.

    A name without a variant is preferred to one with, and safetensors to PyTorch.

    :raises CheckpointError: if there is none
    """
    unet = _unet_folder(folder)
    if not (files := _weights_files(unet)):
        raise CheckpointError(
            f"{unet}: no {_WEIGHTS}{SUFFIX} or .bin in it; download the whole pipeline"
        )
    if len(files) > 1:
        others = ", ".join(file.name for file in files[1:])
        _log.info("Using the weights in %s, not those in %s", files[0].name, others)
    return files[0]


def average_file(folder: Path) -> Path | None:
    """Return the file with the moving average that diffusers' training keeps beside ``unet/``."""
    files = _weights_files(folder / f"{_UNET}_ema")
    return files[0] if files else None


def config_beside(file: Path) -> Config | None:
    """Return the config beside a pipeline's weights file, if there is one.

    :raises CheckpointError: if it describes a network that is not supported
    """
    if not file.name.startswith(_WEIGHTS) or not (file.parent / _CONFIG).is_file():
        return None
    places = (file.parent / _SCHEDULER_CONFIG, file.parents[1] / _SCHEDULER / _SCHEDULER_CONFIG)
    scheduler = next((_read_json(path) for path in places if path.is_file()), {})
    path = file.parent / _CONFIG
    return read_config(_read_json(path), scheduler, path)


def write_pipeline(
    folder: Path, weights: Arrays, config: Config, settings: SamplerSettings
) -> None:
    """Write a folder that ``DDIMPipeline.from_pretrained`` loads, or its like for other samplers.

    :param settings: how its scheduler samples
    :raises UserError: if the folder exists, or diffusers has no such network or sampler
    :raises MachineError: if the disk is full or read-only; no folder is left then
    """
    unet, scheduler = unet_json(config), scheduler_json(config, settings)
    data = to_safetensors(to_diffusers(weights), {"format": "pt"})
    with creating_folder(folder) as fresh:
        for part in (_UNET, _SCHEDULER):
            (fresh / part).mkdir()
        write_synced(fresh / _INDEX, _json(pipeline_json(scheduler["_class_name"])))
        write_synced(fresh / _UNET / _CONFIG, _json(unet))
        write_synced(fresh / _UNET / f"{_WEIGHTS}{SUFFIX}", data)
        write_synced(fresh / _SCHEDULER / _SCHEDULER_CONFIG, _json(scheduler))
        for part in (_UNET, _SCHEDULER):
            sync_folder(fresh / part)


def _weights_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, and the indices of several, best first."""
    ranked = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and (match := _FILE.fullmatch(path.name)):
            variant = match["variant"] or match["other"] or ""
            rank = _FULL.index(variant) if variant in _FULL else len(_FULL)
            order = (_WITHOUT_AVERAGE in variant, rank, variant, match["kind"] == "bin")
            ranked.append((*order, match["index"] is not None, path))
    return [path for *_, path in sorted(ranked)]


def _unet_folder(folder: Path) -> Path:
    return folder / _UNET if (folder / _UNET).is_dir() else folder


def _read_json(path: Path) -> dict[str, Any]:
    with naming(path):
        return read_json(path)


def _json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()
