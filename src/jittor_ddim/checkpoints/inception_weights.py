"""The weights of FID's network: where they are, and whether they are the published ones.

The same numbers are published in two forms: pytorch-fid's state dict (torch-fidelity ships a copy)
and StyleGAN2-ADA's TorchScript archive, which clean-fid uses and whose parameters have
TensorFlow's names.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jittor_ddim.architecture import check_shapes
from jittor_ddim.checkpoints.contents import Arrays
from jittor_ddim.checkpoints.pretrained import fetch, find_copy
from jittor_ddim.checkpoints.recognise import read_contents
from jittor_ddim.checkpoints.tensorflow_names import are_tensorflow, from_tensorflow
from jittor_ddim.downloads import Progress, hash_of
from jittor_ddim.errors import CheckpointError, naming
from jittor_ddim.metrics.inception import parameter_shapes
from jittor_ddim.user_cache import expand_home, user_cache

NAME = "pt_inception-2015-12-05-6726825d.pth"
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
#: Files with these names must be these files.
PUBLISHED = {
    NAME: _SHA256,
    "weights-inception-2015-12-05-6726825d.pth": _SHA256,
    "inception-2015-12-05.pt": (
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    ),
}


@dataclass(frozen=True)
class InceptionWeights:
    """Parameters by their published names, and which file they are from.

    :ivar published: whether it is one of the published files; results from others must say so
    """

    arrays: Arrays
    sha256: str
    published: bool


def obtain_inception(path: Path | None = None, progress: Progress | None = None) -> Path:
    """Return a file with the network's weights, downloading the published one if needed.

    ``$JITTOR_DDIM_INCEPTION``, a file or a folder with one of the published names, replaces the
    download, and ``$JITTOR_DDIM_MIRROR`` the published address.

    :param path: the user's own file, which is returned if it exists
    :raises CheckpointError: if the file that the user names is missing
    :raises DownloadError: if it cannot be downloaded, naming the remedies
    """
    if path is not None:
        path = expand_home(path)
        if not path.is_file():
            raise CheckpointError(f"`inception` {path}: no such file")
        return path
    return find_copy("JITTOR_DDIM_INCEPTION", PUBLISHED) or fetch(
        "the Inception network",
        _URL,
        NAME,
        user_cache() / "inception" / NAME,
        f"sha256:{_SHA256}",
        progress,
        "`inception` or JITTOR_DDIM_INCEPTION to a copy, or use `features` small (8x8 and 32x32 "
        "images)",
    )


def read_inception(path: Path | str) -> InceptionWeights:
    """Read a PyTorch, TorchScript or safetensors file of weights; no code in it is run.

    :raises CheckpointError: if it cannot be read, or has a published name but other content
    :raises WeightsError: if its names and shapes are not exactly the network's
    """
    path = Path(path)
    try:
        status = path.stat()
        return _read(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None


@lru_cache(maxsize=1)  # checked before an engine starts, then used by the engine
def _read(path: Path, size: int, changed: int) -> InceptionWeights:
    sha256 = hash_of(path, "sha256")
    expected = PUBLISHED.get(path.name, sha256)
    if sha256 != expected:
        raise CheckpointError(
            f"{path}: not the published file: expected sha256 {expected}, found {sha256}; delete "
            "it to download it again, or rename it if it is your own"
        )
    weights = read_contents(path).weights
    if are_tensorflow(weights):
        weights = from_tensorflow(weights)
    arrays = {name: a for name, a in weights.items() if not name.endswith(".num_batches_tracked")}
    with naming(f"{path}: not FID's Inception network"):
        check_shapes(arrays, parameter_shapes())
    return InceptionWeights(arrays, sha256, sha256 in PUBLISHED.values())
