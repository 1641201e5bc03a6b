"""Reads and writes weights, by the official names, in any supported format."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim import arguments
from jittor_ddim.architecture import check_shapes, check_weights, not_finite, parameter_shapes
from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints import native
from jittor_ddim.checkpoints.contents import OneSet
from jittor_ddim.checkpoints.diffusers import is_pipeline, write_pipeline
from jittor_ddim.checkpoints.official import check_writable
from jittor_ddim.checkpoints.recognise import CONFIG_KEY, read_contents
from jittor_ddim.checkpoints.safetensors_files import to_safetensors
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.config import Config
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.errors import WeightsError, naming

FORMATS = ("native", "official", "diffusers")
#: Of the numbers in a native file; they are read as float32.
DTYPES = ("float32", "float16")


def load_weights(path: str | Path, ema: bool = True) -> dict[str, NDArray[np.float32]]:
    """Read a network's weights as a mapping from the official names to float32 arrays.

    The format is recognised by the content. Files that would run code are refused.

    :param path: a run folder (its newest checkpoint), a ``ckpt_N`` folder, a safetensors file, a
        PyTorch file (an official checkpoint or a state dict, whatever is wrapped around it), a
        Jittor ``.pkl``, a diffusers pipeline, or the ``.index.json`` of weights in several files
    :param ema: return a checkpoint's moving average; its plain weights if it keeps none
    :raises CheckpointError: if the file is missing, damaged, of an unknown format or unsafe
    :raises WeightsError: if the weights do not fit the config that is stored with them, or a
        value is not finite
    """
    arguments.instance("ema", ema, bool, "True or False")
    return read_weights(arguments.path("path", path), ema).weights


def read_weights(path: Path, ema: bool = True) -> OneSet:
    """Read weights, and the config and step stored with them.

    Arguments and errors are those of :func:`load_weights`.
    """
    if path.is_dir() and not is_pipeline(path):  # without the optimiser and the other set
        found = native.read_weights(path, ema)
    else:
        found = read_contents(path).one_set(ema)
    if found.config is not None:
        with naming(path):
            check_shapes(found.weights, parameter_shapes(found.config))
    # A view of a file's bytes cannot be written to, and would keep all of them in memory.
    own = {
        name: array if array.flags.owndata and array.flags.writeable else array.copy()
        for name, array in found.weights.items()
    }
    return found._replace(weights=own)


def save_weights(
    path: str | Path,
    weights: Mapping[str, NDArray[np.float32]],
    config: Config,
    format: str = "native",
) -> None:
    """Write weights so that :func:`load_weights` reads them back.

    :param path: the file or folder to write
    :param format: ``native``, a safetensors file that also holds the config; ``official``, a
        ``.pth`` that ``torch.load`` reads, the state dict that the official code takes as
        pretrained; ``diffusers``, a folder for ``DDIMPipeline.from_pretrained``
    :raises UserError: if the format is unknown or has no such network, the path is wrong, or the
        folder exists
    :raises WeightsError: if the weights do not fit the config
    :raises MachineError: if the disk is full or read-only; an existing file is untouched
    """
    path = arguments.path("path", path)
    arguments.one_of("format", format, FORMATS)
    arguments.instance("config", config, Config, "a Config, as load_config returns it")
    write_weights(path, weights, config, format, SamplerSettings())


def write_weights(
    path: Path,
    weights: Mapping[str, NDArray[np.float32]],
    config: Config,
    format: str,
    settings: SamplerSettings,
    dtype: str = "float32",
) -> None:
    """Write weights as :func:`save_weights` does, whose arguments and errors these are.

    :param settings: how a pipeline of diffusers is to sample
    :param dtype: one of :data:`DTYPES`, of the numbers in a native file
    :raises WeightsError: also if a value is too large for the type
    """
    shapes = parameter_shapes(config)
    with naming(path):
        check_weights(weights, shapes)
    with np.errstate(over="ignore"):  # the check names the array
        ordered = {name: np.asarray(weights[name]).astype(dtype, copy=False) for name in shapes}
    if dtype != "float32" and (fault := not_finite(ordered)):
        raise WeightsError(f"{path}: {fault} as {dtype}; leave out `dtype`")
    if format == "diffusers":
        write_pipeline(path, ordered, config, settings)
    elif format == "official":
        check_writable(config)
        write_torch(path, ordered)
    else:
        write_atomic(path, to_safetensors(ordered, {CONFIG_KEY: config.model_dump_json()}))
