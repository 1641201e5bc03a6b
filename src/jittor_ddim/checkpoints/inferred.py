"""A config for weights that come without one: from their shapes, with defaults for the rest."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from jittor_ddim.checkpoints.contents import DDIM_NAMES, some
from jittor_ddim.config import Config, parse_config
from jittor_ddim.errors import ConfigError, UserError

#: The resolution at which every official config has its attention.
_ATTENTION_SIZE = 16
_log = logging.getLogger(__name__)


def infer_config(weights: Mapping[str, NDArray[Any]], source: Path) -> Config:
    """Infer a network's config from its weights by the official names.

    Shapes tell the architecture, but neither the image size nor the number of groups in the norms:
    attention is assumed at 16x16, and 32 groups, as in all official networks. Noise schedule
    (linear from 0.0001 to 0.02 in 1000 steps) and preprocessing (images in -1 … 1) are the
    defaults. A warning says so.

    :param source: the file, for the message
    :raises UserError: if it is not such a U-Net, or its attention is not on exactly one level
    """
    try:
        model = _architecture(weights)
        levels = _numbers(weights, r"down\.(\d+)\.attn\.0\.q\.weight")
    except (KeyError, ValueError, IndexError):
        raise UserError(
            f"{source}: not a DDIM U-Net: its {len(weights)} tensors are named {some(weights)} "
            f"instead of {DDIM_NAMES}; check the file"
        ) from None
    if len(levels) != 1:
        where = f"on {len(levels)} levels" if levels else "only in the middle"
        raise UserError(
            f"{source}: has no config, and with attention {where} the image size cannot be "
            "inferred; give `config`, the network's config"
        )
    size = _ATTENTION_SIZE << levels[0]
    tree = {
        "data": {"dataset": "FOLDER", "image_size": size, "channels": model["in_channels"]},
        "model": {**model, "attn_resolutions": [_ATTENTION_SIZE]},
    }
    try:
        config = parse_config(tree, str(source))
    except ConfigError as error:
        raise UserError(f"{error}; give `config`, the network's config") from None
    _log.warning(
        "%s: has no config; assuming %dx%d images (attention at %d), %d groups in the norms and "
        "the linear schedule; set `config` if this is wrong",
        source,
        size,
        size,
        _ATTENTION_SIZE,
        config.model.num_groups,
    )
    return config


def _architecture(weights: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    ch, in_channels, *_ = weights["conv_in.weight"].shape
    levels = _numbers(weights, r"down\.(\d+)\.block\.0\.conv1\.weight")
    outputs = [weights[f"down.{level}.block.0.conv1.weight"].shape[0] for level in levels]
    if levels != list(range(len(levels))) or any(width % ch for width in outputs):
        raise ValueError("levels that no ch_mult describes")
    table = weights.get("class_embedding.weight")
    single = len(levels) == 1  # then nothing is resampled, and either value is the same network
    return {
        "in_channels": in_channels,
        "out_ch": weights["conv_out.weight"].shape[0],
        "ch": ch,
        "ch_mult": [width // ch for width in outputs],
        "num_res_blocks": len(_numbers(weights, r"down\.0\.block\.(\d+)\.conv1\.weight")),
        "resamp_with_conv": single or "down.0.downsample.conv.weight" in weights,
        "num_classes": None if table is None else table.shape[0] - 1,
        "conv_shortcut": any(".conv_shortcut." in name for name in weights),
    }


def _numbers(weights: Mapping[str, NDArray[Any]], pattern: str) -> list[int]:
    """The numbers that a pattern finds in the names, sorted."""
    return sorted(int(match[1]) for name in weights if (match := re.fullmatch(pattern, name)))
