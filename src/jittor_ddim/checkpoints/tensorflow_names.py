"""The Inception network's names in TensorFlow's graph, as its TorchScript archive has them.

``layers.mixed_4.tower_1.conv_2.beta`` is ``Mixed_6b.branch7x7dbl_3.bn.bias``.
"""

import re
from collections.abc import Mapping

import numpy as np

from jittor_ddim.checkpoints.contents import Arrays

#: TensorFlow's names of the branches of a block, by the block's kind; ``conv`` is ``branch1x1``.
_TOWERS = {
    "5": {"tower": "branch5x5", "tower_1": "branch3x3dbl"},
    "6a": {"conv": "branch3x3", "tower": "branch3x3dbl"},
    "6": {"tower": "branch7x7", "tower_1": "branch7x7dbl"},
    "7a": {"tower": "branch3x3", "tower_1": "branch7x7x3"},
}
_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_BLOCK_7 = {
    "conv": "branch1x1",
    "tower_conv": "branch3x3_1",
    "tower_mixed_conv": "branch3x3_2a",
    "tower_mixed_conv_1": "branch3x3_2b",
    "tower_1_conv": "branch3x3dbl_1",
    "tower_1_conv_1": "branch3x3dbl_2",
    "tower_1_mixed_conv": "branch3x3dbl_3a",
    "tower_1_mixed_conv_1": "branch3x3dbl_3b",
    "tower_2_conv": "branch_pool",
}
_KINDS = {
    "weight": "conv.weight",
    "beta": "bn.bias",
    "mean": "bn.running_mean",
    "var": "bn.running_var",
}


def are_tensorflow(weights: Mapping[str, np.ndarray]) -> bool:
    """Tell whether parameters have TensorFlow's names."""
    return "layers.conv.weight" in weights


def from_tensorflow(weights: Mapping[str, np.ndarray]) -> Arrays:
    """Return the parameters by their published names; unknown names stay as they are."""
    found = {}
    for name, array in weights.items():
        place, _, kind = name.removeprefix("layers.").rpartition(".")
        if place == "output":
            found[f"fc.{kind}"] = array
        elif kind in _KINDS and (conv := _published_name(place)):
            found[f"{conv}.{_KINDS[kind]}"] = array
            if kind == "beta":  # its batch normalisation has no scale
                found[f"{conv}.bn.weight"] = np.ones_like(array)
        else:
            found[name] = array
    return found


def _published_name(place: str) -> str | None:
    """Return the published name of a convolution such as ``mixed_4.tower_1.conv_2``."""
    if place in _STEM:
        return _STEM[place]
    match = re.fullmatch(r"mixed(?:_(\d+))?\.(.+)", place)
    number = int(match[1] or 0) if match else len(_BLOCKS)
    if match is None or number >= len(_BLOCKS):
        return None
    block, inner = _BLOCKS[number], match[2]
    if block in ("7b", "7c"):
        branch = _BLOCK_7.get(inner)
    else:
        towers = _TOWERS.get(block) or _TOWERS[block[0]]
        branch = _branch(inner, {"conv": "branch1x1", "tower_2": "branch_pool"} | towers)
    return branch and f"Mixed_{block}.{branch}"


def _branch(inner: str, towers: Mapping[str, str]) -> str | None:
    tower, _, conv = inner.partition(".")
    if tower not in towers:
        return None
    if towers[tower] == "branch_pool" or not conv:
        return towers[tower]
    numbered = re.fullmatch(r"conv(?:_(\d))?", conv)
    return f"{towers[tower]}_{int(numbered[1] or 0) + 1}" if numbered else None
