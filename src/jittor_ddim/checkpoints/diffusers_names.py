"""The parameters' names in diffusers, and back.

diffusers counts the decoder's levels from the lowest resolution, and its attention is made of
linear layers where the official code has 1x1 convolutions.
"""

import re

from jittor_ddim.checkpoints.native import Arrays
from jittor_ddim.errors import WeightsError

_FIXED = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "conv_in": "conv_in",
    "mid.block_1": "mid_block.resnets.0",
    "mid.attn_1": "mid_block.attentions.0",
    "mid.block_2": "mid_block.resnets.1",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}
_RESAMPLING = {"downsample": "downsamplers.0", "upsample": "upsamplers.0"}
_PARTS = {"block": "resnets", "attn": "attentions"}
#: Inside a residual block; other names are the same.
_BLOCK = {"temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut"}
_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
_OLDER_ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
_MATRICES = re.compile(r".*attn.*\.(q|k|v|proj_out)\.weight")
_LEVEL = re.compile(r"(down|up)(_blocks)?\.(\d+)\.(.+)")


def are_diffusers(weights: Arrays) -> bool:
    """Tell whether the names are diffusers'."""
    return "time_embedding.linear_1.weight" in weights


def to_diffusers(weights: Arrays) -> Arrays:
    """Return weights by diffusers' names, in its shapes."""
    levels = _count_levels(weights)
    return {
        diffusers_name(name, levels): array[..., 0, 0] if _MATRICES.fullmatch(name) else array
        for name, array in weights.items()
    }


def from_diffusers(weights: Arrays) -> Arrays:
    """Return weights by the official names, in the official shapes.

    :raises WeightsError: if a name is unknown
    """
    levels = _count_levels(weights)
    named = {official_name(name, levels): array for name, array in weights.items()}
    return {
        name: array[..., None, None] if _MATRICES.fullmatch(name) and array.ndim == 2 else array
        for name, array in named.items()
    }


def diffusers_name(name: str, levels: int) -> str:
    """Return diffusers' name of an official one.

    :param levels: how many the U-Net has
    """
    module, _, kind = name.rpartition(".")
    for ours, theirs in _FIXED.items():
        if module == ours:
            return f"{theirs}.{kind}"
        if module.startswith(f"{ours}."):
            leaves = _ATTENTION if "attn" in ours else _BLOCK
            leaf = module.removeprefix(f"{ours}.")
            return f"{theirs}.{leaves.get(leaf, leaf)}.{kind}"
    side, _, level, rest = _split(module)
    level = levels - 1 - level if side == "up" else level
    part, number, *leaf = rest.split(".")
    if part in _RESAMPLING:  # downsample.conv
        return f"{side}_blocks.{level}.{_RESAMPLING[part]}.{number}.{kind}"
    leaves = _ATTENTION if part == "attn" else _BLOCK
    return f"{side}_blocks.{level}.{_PARTS[part]}.{number}.{leaves.get(leaf[0], leaf[0])}.{kind}"


def official_name(name: str, levels: int) -> str:
    """Return the official name of one of diffusers', also of those before its version 0.15.

    :raises WeightsError: if it is unknown
    """
    module, _, kind = name.rpartition(".")
    for ours, theirs in _FIXED.items():
        if module == theirs:
            return f"{ours}.{kind}"
        if module.startswith(f"{theirs}."):
            return f"{ours}.{_our_leaf(module.removeprefix(f'{theirs}.'), 'attn' in ours)}.{kind}"
    side, _, level, rest = _split(module)
    level = levels - 1 - level if side == "up" else level
    for ours, theirs in _RESAMPLING.items():
        if rest.startswith(f"{theirs}."):
            return f"{side}.{level}.{ours}.{rest.removeprefix(f'{theirs}.')}.{kind}"
    for ours, theirs in _PARTS.items():
        if match := re.fullmatch(rf"{theirs}\.(\d+)\.(.+)", rest):
            leaf = _our_leaf(match[2], ours == "attn")
            return f"{side}.{level}.{ours}.{match[1]}.{leaf}.{kind}"
    raise _unknown(name)


def _our_leaf(leaf: str, attention: bool) -> str:
    tables = (_ATTENTION, _OLDER_ATTENTION) if attention else (_BLOCK,)
    return next(
        (ours for table in tables for ours, theirs in table.items() if leaf == theirs), leaf
    )


def _split(module: str) -> tuple[str, str, int, str]:
    match = _LEVEL.fullmatch(module)
    if match is None:
        raise _unknown(module)
    return match[1], match[2], int(match[3]), match[4]


def _count_levels(weights: Arrays) -> int:
    found = [int(match[3]) for name in weights if (match := _LEVEL.fullmatch(name))]
    return max(found, default=0) + 1


def _unknown(name: str) -> WeightsError:
    return WeightsError(f"{name[:80]}: no parameter of this U-Net, by no name that is known")
