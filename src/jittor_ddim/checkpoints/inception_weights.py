"""The weights of the network behind FID: where they come from, and whether they are the ones.

Published are the same numbers in two forms: pytorch-fid's state dict (torch-fidelity ships a copy)
and StyleGAN2-ADA's TorchScript archive, which clean-fid uses and whose parameters have
TensorFlow's names.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jittor_ddim.architecture import check_weights
from jittor_ddim.checkpoints.contents import Arrays
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.tensorflow_names import are_tensorflow, from_tensorflow
from jittor_ddim.downloads import Progress, download, hash_of
from jittor_ddim.errors import CheckpointError, DownloadError, WeightsError
from jittor_ddim.metrics.inception import parameter_shapes
from jittor_ddim.user_cache import expand_home, user_cache

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
        return _existing(expand_home(path), "--inception")
    if given := os.environ.get("JITTOR_DDIM_INCEPTION"):
        place = expand_home(given)
        files = [place / name for name in PUBLISHED] if place.is_dir() else [place]
        found = [file for file in files if file.is_file()]
        return found[0] if found else _existing(files[0], "JITTOR_DDIM_INCEPTION")
    mirror = os.environ.get("JITTOR_DDIM_MIRROR")
    target = user_cache() / "inception" / NAME
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
            f"JITTOR_DDIM_INCEPTION, an address below which {NAME} lies by JITTOR_DDIM_MIRROR, or "
            "use --features small (8x8 and 32x32 images)"
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
        return _read(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None


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
    if are_tensorflow(weights):
        weights = from_tensorflow(weights)
    arrays = {name: array for name, array in weights.items() if not name.endswith(_COUNTER)}
    try:
        check_weights(arrays, parameter_shapes())
    except WeightsError as error:
        raise WeightsError(f"{path}: not the Inception network of FID: {error}") from None
    return InceptionWeights(arrays, sha256, sha256 in PUBLISHED.values())


def _existing(path: Path, who: str) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{who} {path}: no such file")
    return path
