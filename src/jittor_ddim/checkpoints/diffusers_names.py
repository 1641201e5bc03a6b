"""Converts the parameters' official names to those in diffusers, and back.

diffusers counts the decoder's levels from the lowest resolution, and its attention consists of
linear layers where the official code has 1x1 convolutions.
"""

import re
from collections.abc import Mapping
from typing import Any

from jittor_ddim.checkpoints.contents import Arrays
from jittor_ddim.errors import WeightsError

#: Parts of an official name, each between dots, and what diffusers calls them.
_PARTS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0",
    "norm_out": "conv_norm_out",
    "block": "resnets",
    "attn": "attentions",
    "downsample": "downsamplers.0",
    "upsample": "upsamplers.0",
    "temb_proj": "time_emb_proj",
    "nin_shortcut": "conv_shortcut",
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
#: Of attention before diffusers 0.15.
_OLDER_PARTS = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
#: Modules that have one name in both.
_SAME = ("conv_in.", "conv_out.", "class_embedding.")
#: Every official name, however large the network.
_OFFICIAL = re.compile(
    r"(class_embedding|conv_in|conv_out|norm_out|temb\.dense\.\d|mid\.(block|attn)_\d\.\w+"
    r"|(down|up)\.\d+\.((block|attn)\.\d+|(down|up)sample)\.\w+)\.(weight|bias)"
)
_MATRICES = re.compile(r".*attn.*\.(q|k|v|proj_out)\.weight")


def are_diffusers(weights: Arrays) -> bool:
    """Tell whether weights have diffusers' names."""
    return "time_embedding.linear_1.weight" in weights


def to_diffusers(weights: Arrays) -> Arrays:
    """Return weights by diffusers' names, in diffusers' shapes."""
    return {
        theirs: weights[ours][..., 0, 0] if _MATRICES.fullmatch(ours) else weights[ours]
        for ours, theirs in diffusers_names(weights).items()
    }


def from_diffusers(weights: Arrays) -> Arrays:
    """Return weights by the official names, in the official shapes.

    :raises WeightsError: if a name is unknown, or two names mean the same parameter
    """
    names = official_names(weights)
    for theirs, ours in names.items():
        same = theirs == ours and not theirs.startswith(_SAME)
        if same or not _OFFICIAL.fullmatch(ours):
            raise WeightsError(f"{theirs[:80]}: no parameter of this U-Net has this name")
    named = {ours: weights[theirs] for theirs, ours in names.items()}
    if len(named) < len(weights):
        raise WeightsError("two of its names mean the same parameter; get a new copy of the file")
    return {
        name: array[..., None, None] if _MATRICES.fullmatch(name) and array.ndim == 2 else array
        for name, array in named.items()
    }


def diffusers_names(names: Mapping[str, Any]) -> dict[str, str]:
    """Map a network's official names to those in diffusers."""
    return {
        name: re.sub(r"^(down|up)\.", r"\1_blocks.", _translate(mirrored, _PARTS))
        for name, mirrored in _mirror(names).items()
    }


def official_names(names: Mapping[str, Any]) -> dict[str, str]:
    """Map a network's names in diffusers, also before version 0.15, to the official ones."""
    parts = {theirs: ours for ours, theirs in _PARTS.items()} | _OLDER_PARTS
    return {
        name: re.sub(r"^(down|up)_blocks\.", r"\1.", _translate(mirrored, parts))
        for name, mirrored in _mirror(names).items()
    }


def _mirror(names: Mapping[str, Any]) -> dict[str, str]:
    """Count the decoder's levels from the other end."""
    up = re.compile(r"^(up(?:_blocks)?\.)(\d{1,3})(?=\.)")
    last = max((int(match[2]) for name in names if (match := up.match(name))), default=0)
    return {name: up.sub(lambda m: f"{m[1]}{last - int(m[2])}", name) for name in names}


def _translate(name: str, parts: Mapping[str, str]) -> str:
    known = "|".join(re.escape(part) for part in parts)
    return re.sub(rf"(?<![^.])({known})(?=\.)", lambda match: parts[match[1]], name)
