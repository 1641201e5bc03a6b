"""Converts diffusers' ``config.json`` and ``scheduler_config.json`` to our config and back."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.checkpoints.diffusers_schedulers import counterpart, options_of, pipeline_of
from jittor_ddim.config import Config, parse_config
from jittor_ddim.diffusion.schedule import make_betas
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.errors import CheckpointError, ConfigError, UserError, differences

#: The version whose files these are; other versions read them too.
_VERSION = "0.42.1"
#: This U-Net in diffusers' words, and diffusers' default, which a file may leave out.
_UNET = {
    "act_fn": ("silu", "silu"),
    "add_attention": (True, True),
    "attn_norm_num_groups": (None, None),
    "center_input_sample": (False, False),
    "class_embed_type": (None, None),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "conv"),
    "flip_sin_to_cos": (False, True),
    "freq_shift": (1, 0),
    "mid_block_scale_factor": (1, 1),
    "mid_block_type": ("UNetMidBlock2D", "UNetMidBlock2D"),
    "norm_eps": (1e-6, 1e-5),
    "num_train_timesteps": (None, None),
    "resnet_time_scale_shift": ("default", "default"),
    "time_embedding_type": ("positional", "positional"),
    "upsample_type": ("conv", "conv"),
}
_PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
_SCHEDULES = {"linear": "linear", "scaled_linear": "quad", "squaredcos_cap_v2": "cosine"}
_OTHER_SCHEDULES = ("const", "jsd", "sigmoid")
_log = logging.getLogger(__name__)


def read_config(unet: dict[str, Any], scheduler: dict[str, Any], source: Path) -> Config:
    """Return the config of a pipeline.

    :param unet: its ``config.json``
    :param scheduler: its ``scheduler_config.json``; empty if there is none
    :raises CheckpointError: naming what this project's U-Net does not support
    """
    if (kind := unet.get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise CheckpointError(f"{source}: its network is a {kind}, not a UNet2DModel")
    if found := _differences(unet, _UNET):
        raise CheckpointError(f"{source}: not a supported network: {', '.join(found)}")
    try:
        model, size = _read_model(unet)
        tree = {
            "data": {"dataset": "FOLDER", "image_size": size, "channels": model["in_channels"]},
            "model": model,
            "diffusion": _read_schedule(scheduler),
        }
        config = parse_config(tree, str(source))
    except ConfigError as error:
        raise CheckpointError(f"{error}; not a supported network") from None
    except KeyError as error:
        raise CheckpointError(f"{source}: its config.json has no {error}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{source}: not a supported network: {error}") from None
    if scheduler:
        _tell_sampler(scheduler, config, source)
    return config


def _tell_sampler(scheduler: dict[str, Any], config: Config, source: Path) -> None:
    """Say how to sample as the pipeline does; its settings are never used unasked."""
    found, text = counterpart(scheduler, config.diffusion)
    if not found:
        _log.warning("%s: its sampler has no counterpart here: %s", source, text)
    elif text:
        _log.info("%s: to sample as its scheduler does: %s", source, text)


def unet_json(config: Config) -> dict[str, Any]:
    """Return the ``config.json`` of a network.

    :raises UserError: if diffusers has no such network, naming the key
    """
    model, data = config.model, config.data
    for key, value, wanted in (
        ("model.resamp_with_conv", model.resamp_with_conv, True),
        ("model.conv_shortcut", model.conv_shortcut, False),
        ("data.rescaled", data.rescaled, True),
        ("data.logit_transform", data.logit_transform, False),
    ):
        if value != wanted:
            raise UserError(
                f"{key} {str(value).lower()}: diffusers' DDIMPipeline does not support this; "
                "choose `format` official or native"
            )
    kinds = [
        "Attn{}Block2D" if size in model.attn_resolutions else "{}Block2D"
        for size in config.resolutions
    ]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": _VERSION,
        **{key: ours for key, (ours, _) in _UNET.items()},
        "attention_head_dim": None,
        "block_out_channels": [model.ch * mult for mult in model.ch_mult],
        "down_block_types": [kind.format("Down") for kind in kinds],
        "up_block_types": [kind.format("Up") for kind in reversed(kinds)],
        "dropout": model.dropout,
        "in_channels": model.in_channels,
        "out_channels": model.out_ch,
        "layers_per_block": model.num_res_blocks,
        "norm_num_groups": model.num_groups,
        "num_class_embeds": None if model.num_classes is None else model.num_classes + 1,
        "sample_size": data.image_size,
        "time_embedding_dim": None,
    }


def scheduler_json(config: Config, settings: SamplerSettings) -> dict[str, Any]:
    """Return the ``scheduler_config.json`` of the scheduler that samples with these settings.

    :raises UserError: if diffusers has none
    """
    diffusion = config.diffusion
    known = _reversed(_SCHEDULES)
    start, end = diffusion.beta_start, diffusion.beta_end
    steps, kind = diffusion.num_diffusion_timesteps, diffusion.beta_schedule
    betas = None if kind in known else make_betas(kind, start, end, steps).tolist()
    scheduler, options = options_of(settings, diffusion)
    return {
        "_class_name": scheduler,
        "_diffusers_version": _VERSION,
        **options,
        "beta_start": start,
        "beta_end": end,
        "beta_schedule": known.get(kind, "linear"),
        "num_train_timesteps": steps,
        "prediction_type": _reversed(_PREDICTIONS)[diffusion.prediction],
        "rescale_betas_zero_snr": diffusion.zero_terminal_snr,
        "trained_betas": betas,
    }


def pipeline_json(scheduler: str) -> dict[str, Any]:
    """Return the ``model_index.json`` of a pipeline with a scheduler of this class."""
    return {
        "_class_name": pipeline_of(scheduler),
        "_diffusers_version": _VERSION,
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", "UNet2DModel"],
    }


def _reversed(table: dict[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in table.items()}


def _differences(found: dict[str, Any], wanted: dict[str, tuple[Any, Any]]) -> list[str]:
    values = {key: found.get(key, default) for key, (_, default) in wanted.items()}
    return differences(values, {key: ours for key, (ours, _) in wanted.items()})


def _read_model(unet: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The section `model`, and the image size."""
    widths, size = unet["block_out_channels"], unet["sample_size"]
    if type(size) is not int:
        raise ValueError(f"sample_size {size} is not a single number (images must be square)")
    ch = widths[0]
    if any(width % ch for width in widths):
        raise ValueError(f"block_out_channels {widths} are not multiples of the first")
    down, up = unet["down_block_types"], unet["up_block_types"]
    attention = [kind == "AttnDownBlock2D" for kind in down]
    plain = {"DownBlock2D", "AttnDownBlock2D"}
    mirrored = [kind.replace("Down", "Up") for kind in reversed(down)]
    if not set(down) <= plain or up != mirrored or len(down) != len(widths):
        raise ValueError(f"down_block_types {down} and up_block_types {up}")
    heads = unet.get("attention_head_dim", 8)
    used = {width for width, has in zip(widths, attention, strict=True) if has} | {widths[-1]}
    if heads is not None and used != {heads}:
        raise ValueError(f"attention_head_dim {heads}, which means several heads")
    embeds = unet.get("num_class_embeds")
    if embeds is not None:
        _log.warning(
            "num_class_embeds %s: taken as %s classes, and the last row as that of no class, as "
            "we write them; without such a row, use neither the last class nor guidance",
            embeds,
            embeds - 1,
        )
    if unet.get("time_embedding_dim") not in (None, 4 * ch):
        raise ValueError(f"time_embedding_dim {unet['time_embedding_dim']}")
    return {
        "in_channels": unet["in_channels"],
        "out_ch": unet["out_channels"],
        "ch": ch,
        "ch_mult": [width // ch for width in widths],
        "num_groups": unet.get("norm_num_groups", 32),
        "num_classes": None if embeds is None else embeds - 1,
        "num_res_blocks": unet["layers_per_block"],
        "attn_resolutions": [size >> level for level, has in enumerate(attention) if has],
        "dropout": unet.get("dropout", 0.0),
    }, size


def _read_schedule(scheduler: dict[str, Any]) -> dict[str, Any]:
    """The section `diffusion`; diffusers' defaults are the official values, but Heun's."""
    heun = scheduler.get("_class_name") == "HeunDiscreteScheduler"
    start = scheduler.get("beta_start", 0.00085 if heun else 0.0001)
    end = scheduler.get("beta_end", 0.012 if heun else 0.02)
    steps = scheduler.get("num_train_timesteps", 1000)
    if (prediction := scheduler.get("prediction_type", "epsilon")) not in _PREDICTIONS:
        raise ValueError(f"prediction_type {prediction}")
    if (betas := scheduler.get("trained_betas")) is None:
        kind = scheduler.get("beta_schedule", "linear")
        if kind not in _SCHEDULES:
            raise ValueError(f"beta_schedule {kind}")
        ours = [_SCHEDULES[kind]]
    else:
        ours = [
            one
            for one in (*_SCHEDULES.values(), *_OTHER_SCHEDULES)
            if len(betas) == steps and np.allclose(make_betas(one, start, end, steps), betas)
        ]
        if not ours:
            raise ValueError("trained_betas that follow no known schedule")
    return {
        "beta_schedule": ours[0],
        "beta_start": start,
        "beta_end": end,
        "num_diffusion_timesteps": steps,
        "prediction": _PREDICTIONS[prediction],
        "zero_terminal_snr": scheduler.get("rescale_betas_zero_snr", False),
    }
