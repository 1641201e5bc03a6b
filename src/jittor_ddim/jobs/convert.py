"""Convert weights and checkpoints from any format to another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ddim.architecture import check_shapes, count_parameters, parameter_shapes
from jittor_ddim.atomic import creating_folder, write_synced
from jittor_ddim.checkpoints import DTYPES, FORMATS, write_weights
from jittor_ddim.checkpoints.contents import Contents
from jittor_ddim.checkpoints.inferred import infer_config
from jittor_ddim.checkpoints.native import Arrays, Checkpoint, save_checkpoint
from jittor_ddim.checkpoints.official import check_optimizer, to_list
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.strict import check_fits
from jittor_ddim.checkpoints.torch_writer import write_torch
from jittor_ddim.config import Config
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.engines.choice import check_options
from jittor_ddim.errors import UserError, naming

_WEIGHTS_FILE = ".safetensors"
_SUFFIXES = {
    _WEIGHTS_FILE: "native",
    ".pth": "official",
    ".pt": "official",
    ".ckpt": "official",
    ".bin": "official",
}


@dataclass(frozen=True)
class ConvertRequest:
    """What ``ddim convert`` was asked for."""

    source: Path
    target: Path
    format: str | None = None  # None: by the target's suffix
    config: Config | None = None  # None: the source's own, or what its shapes tell
    ema: bool | None = None  # one set of weights alone; None: all that the target can hold
    dtype: str = "float32"  # of one file's numbers, in the format native
    #: Of the format diffusers: the sampler, spacing and order of its scheduler.
    settings: SamplerSettings = field(default_factory=SamplerSettings)


def run_conversion(request: ConvertRequest) -> dict[str, Any]:
    """Write the target, which must not exist, and return what was made.

    A target of the format native is one file of weights if it ends in ``.safetensors``, else a
    run's folder from which training goes on.

    :raises UserError: for anything wrong with the request or the source
    """
    source, target = request.source, request.target
    kind = _target_format(target, request.format)
    check_options(("dtype", request.dtype, DTYPES))
    if request.dtype != "float32" and target.suffix != _WEIGHTS_FILE:
        raise UserError(
            f"`dtype` {request.dtype}: only of a {_WEIGHTS_FILE} file of the format native; end "
            f"{target} in that, or leave `dtype` out"
        )
    if kind != "diffusers" and request.settings != SamplerSettings():
        raise UserError(
            "`sampler`, `spacing` and `order` go into a pipeline of diffusers, not into format "
            f"{kind}; leave them out"
        )
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: already exists; choose another name, or move it away")
    contents = read_contents(source)
    if request.ema and contents.ema_weights is None:
        raise UserError(f"{source}: has no moving average beside its weights; leave out `ema`")
    config, config_from = _find_config(contents, request.config, source)
    _check(contents, config, source)
    report = {
        "source": str(source),
        "source_format": contents.format,
        "target": str(target),
        "format": kind,
        "parameters": count_parameters(config),
        "config": config_from,
    }
    run_folder = kind == "native" and target.suffix != _WEIGHTS_FILE
    whole = run_folder or (kind == "official" and contents.training is not None)
    if not whole or request.ema is not None:
        if run_folder:
            raise UserError(
                "`ema` chooses one set of weights, and a run's folder holds both; "
                f"leave it out, or end {target} in {_WEIGHTS_FILE}"
            )
        chosen = contents.one_set(request.ema is not False).weights
        write_weights(target, chosen, config, kind, request.settings, request.dtype)
        return report | {"holds": _name(chosen, contents)}
    checkpoint = _whole(contents, config, config_from, source)
    if run_folder:
        _write_run(target, checkpoint)
    else:
        write_torch(target, to_list(checkpoint))
    return report | {"holds": "checkpoint", "step": checkpoint.step, "epoch": checkpoint.epoch}


def _target_format(target: Path, format: str | None) -> str:
    by_suffix = _SUFFIXES.get(target.suffix.lower())
    if format is None and by_suffix is None:
        raise UserError(
            f"{target}: its suffix does not say which format; set `format` to native (a run's "
            "folder) or diffusers (a pipeline's folder), or end it in .safetensors or .pth"
        )
    if format is not None and format not in FORMATS:
        raise UserError(f"`format` {format}: choose one of {', '.join(FORMATS)}")
    if format and by_suffix and format != by_suffix:
        raise UserError(
            f"{target}: {target.suffix} is for the format {by_suffix}, not {format}; "
            "choose another suffix, or leave out `format`"
        )
    return format or by_suffix or ""


def _find_config(contents: Contents, given: Config | None, source: Path) -> tuple[Config, str]:
    if given is None:
        if contents.config is None:
            return infer_config(contents.weights, source), "inferred"
        return contents.config, "stored"
    if contents.config:
        check_fits(contents.config, given, source)
    return given, "given"


def _check(contents: Contents, config: Config, source: Path) -> None:
    shapes = parameter_shapes(config)
    with naming(source):
        for weights in (contents.weights, contents.ema_weights):
            if weights is not None:
                check_shapes(weights, shapes)


def _whole(contents: Contents, config: Config, config_from: str, source: Path) -> Checkpoint:
    """The source as a checkpoint that training goes on from."""
    if contents.training is None:
        raise UserError(
            f"{source}: holds only weights, from which no run can be resumed; end the target in "
            f"{_WEIGHTS_FILE}"
        )
    if config_from == "inferred":
        raise UserError(
            f"{source}: contains no config, which training needs to continue; give `config`"
        )
    if config.model.ema and contents.ema_weights is None:
        raise UserError(f"{source}: has no moving average; set model.ema to false")
    with naming(source):
        check_optimizer(contents.training.optimizer, config)
        return contents.checkpoint(config)


def _write_run(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a run's folder, from which training can be resumed."""
    with creating_folder(folder) as fresh:
        write_synced(fresh / "config.yml", checkpoint.config.to_yaml().encode())
        save_checkpoint(fresh, checkpoint, keep_last=1)


def _name(chosen: Arrays, contents: Contents) -> str:
    if contents.ema_weights is None:
        return "weights"
    return "plain weights" if chosen is contents.weights else "moving average"
