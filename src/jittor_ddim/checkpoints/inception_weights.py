"""The weights of the network behind FID: where they come from, and whether they are the ones.

Published are the same numbers in two forms: pytorch-fid's state dict (torch-fidelity ships a copy)
and StyleGAN2-ADA's TorchScript archive, which clean-fid uses and whose parameters have
TensorFlow's names.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from jittor_ddim.architecture import check_weights
from jittor_ddim.checkpoints.contents import Arrays
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.downloads import Progress, cache_folder, download, hash_of
from jittor_ddim.errors import CheckpointError, DownloadError, WeightsError
from jittor_ddim.metrics.inception import parameter_shapes

NAME = "pt_inception-2015-12-05-6726825d.pth"
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
#: Files that bear these names must be these files.
PUBLISHED = {
    NAME: _SHA256,
    "weights-inception-2015-12-05-6726825d.pth": _SHA256,
    "inception-2015-12-05.pt": (
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    ),
}
_COUNTER = ".num_batches_tracked"

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


@dataclass(frozen=True)
class InceptionWeights:
    """Parameters by their published names, and which file they are from.

    :ivar published: whether it is one of the published files; a result of others must say so
    """

    arrays: Arrays
    sha256: str
    published: bool


def obtain_inception(path: Path | None = None, progress: Progress | None = None) -> Path:
    """Return a file with the network's weights, downloading the published one if need be.

    ``$JITTOR_DDIM_INCEPTION``, a file or a folder that holds one of the published names, takes the
    place of a download; ``$JITTOR_DDIM_MIRROR`` that of the published address.

    :param path: a file of the user's, which is returned if it exists
    :raises CheckpointError: if what the user names is missing
    :raises DownloadError: if it cannot be downloaded, naming the remedies
    """
    if path is not None:
        return _existing(path.expanduser(), "--inception")
    if given := os.environ.get("JITTOR_DDIM_INCEPTION"):
        place = Path(given).expanduser()
        files = [place / name for name in PUBLISHED] if place.is_dir() else [place]
        found = [file for file in files if file.is_file()]
        return found[0] if found else _existing(files[0], "JITTOR_DDIM_INCEPTION")
    mirror = os.environ.get("JITTOR_DDIM_MIRROR")
    target = cache_folder() / "inception" / NAME
    try:
        download(
            f"{mirror.rstrip('/')}/{NAME}" if mirror else _URL,
            target,
            f"sha256:{_SHA256}",
            progress,
        )
    except DownloadError as error:
        raise DownloadError(
            f"the Inception network cannot be downloaded: {error}; name a copy by --inception or "
            "JITTOR_DDIM_INCEPTION, or use --features small (8x8 and 32x32 images)"
        ) from None
    return target


def read_inception(path: Path | str) -> InceptionWeights:
    """Read a file of weights: of PyTorch, TorchScript or safetensors; no code in it is run.

    :raises CheckpointError: if it cannot be read, or bears a published name and is another file
    :raises WeightsError: if it has not exactly the network's names and shapes
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)
def _read(path: Path, size: int, changed: int) -> InceptionWeights:
    """The checks before an engine starts, and then the engine itself, want the same file."""
    sha256 = hash_of(path, "sha256")
    expected = PUBLISHED.get(path.name, sha256)
    if sha256 != expected:
        raise CheckpointError(
            f"{path}: not the published file: sha256 expected {expected}, found {sha256}; delete "
            "it to download it anew, or rename it if it is meant to be another"
        )
    weights = read_contents(path).weights
    if "layers.conv.weight" in weights:
        weights = _from_tensorflow(weights)
    arrays = {name: array for name, array in weights.items() if not name.endswith(_COUNTER)}
    try:
        check_weights(arrays, parameter_shapes())
    except WeightsError as error:
        raise WeightsError(f"{path}: not the Inception network of FID: {error}") from None
    return InceptionWeights(arrays, sha256, sha256 in PUBLISHED.values())


def _from_tensorflow(weights: Mapping[str, np.ndarray]) -> Arrays:
    """Rename an archive's parameters; names that are not TensorFlow's stay, to be refused."""
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
    number = int(conv.removeprefix("conv").removeprefix("_") or 0) + 1
    return f"{towers[tower]}_{number}"


def _existing(path: Path, who: str) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{who} {path}: no such file")
    return path
