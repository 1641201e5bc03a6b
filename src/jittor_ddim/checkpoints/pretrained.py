"""The published DDPM weights: which there are, and where a copy of them is.

They are the originals of Ho et al., converted to PyTorch and averaged (EMA); the official DDIM
code samples from them under the same names.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.config import DataConfig
from jittor_ddim.downloads import Progress, download, hash_of
from jittor_ddim.errors import CheckpointError, DownloadError, UserError
from jittor_ddim.user_cache import expand_home, user_cache

_HOST = "https://heibox.uni-heidelberg.de/f"


@dataclass(frozen=True)
class Published:
    """One set of published weights."""

    name: str  # the official one
    file: str  # below a mirror, a folder of copies and the cache alike
    md5: str
    url: str


#: By data set and category.
MODELS = {
    ("CIFAR10", None): Published(
        "ema_cifar10",
        "ema_diffusion_cifar10_model/model-790000.ckpt",
        "1fa350b952534ae442b1d5235cce5cd3",
        f"{_HOST}/2e4f01e2d9ee49bab1d5/?dl=1",
    ),
    ("LSUN", "bedroom"): Published(
        "ema_lsun_bedroom",
        "ema_diffusion_lsun_bedroom_model/model-2388000.ckpt",
        "1921fa46b66a3665e450e42f36c2720f",
        f"{_HOST}/b95206528f384185889b/?dl=1",
    ),
    ("LSUN", "church_outdoor"): Published(
        "ema_lsun_church",
        "ema_diffusion_lsun_church_model/model-4432000.ckpt",
        "fdc68a23938c2397caba4a260bc2445f",
        f"{_HOST}/44ccb50ef3c6436db52e/?dl=1",
    ),
}


def published_weights(data: DataConfig) -> Published:
    """Return the published weights of a data set.

    :raises UserError: if there are none, naming those that there are
    """
    key = data.dataset, data.category if data.dataset == "LSUN" else None
    if key in MODELS:
        return MODELS[key]
    there_are = ", ".join(f"{model.name} ({_title(*key)})" for key, model in MODELS.items())
    raise UserError(
        f"--use_pretrained: no weights are published for {_title(*key)}; there are {there_are}"
    )


def obtain(model: Published, progress: Progress | None = None) -> Path:
    """Return a file with published weights, downloading it if need be.

    ``$JITTOR_DDIM_PRETRAINED``, a copy or a folder of copies, takes the place of any download;
    ``$JITTOR_DDIM_MIRROR`` that of the published address. Downloads are kept in
    ``$JITTOR_DDIM_CACHE`` or the user's cache. Wherever a file comes from, its hash is checked:
    ``--use_pretrained`` stands for these very weights.

    :raises CheckpointError: if the copy is missing or of another hash
    :raises DownloadError: if it cannot be downloaded, naming the remedies
    :raises MachineError: if the cache cannot be written
    """
    if copies := os.environ.get("JITTOR_DDIM_PRETRAINED"):
        return _copy(model, expand_home(copies))
    mirror = os.environ.get("JITTOR_DDIM_MIRROR")
    url = f"{mirror.rstrip('/')}/{model.file}" if mirror else model.url
    path = user_cache() / "pretrained" / model.file
    try:
        download(url, path, f"md5:{model.md5}", progress)
    except DownloadError as error:
        raise DownloadError(
            f"{model.name} cannot be downloaded: {error}; set JITTOR_DDIM_MIRROR to an address "
            f"below which {model.file} (md5 {model.md5}) lies, or JITTOR_DDIM_PRETRAINED to a copy"
        ) from None
    return path


def _copy(model: Published, place: Path) -> Path:
    # As published or, as a browser saves it, without the folder.
    names = [place / model.file, place / Path(model.file).name] if place.is_dir() else [place]
    found = [path for path in names if path.is_file()]
    if not found:
        raise CheckpointError(
            f"JITTOR_DDIM_PRETRAINED: {names[0]} is missing; put {model.name} there, or unset "
            "the variable to download it"
        )
    md5 = hash_of(found[0], "md5")
    if md5 != model.md5:
        raise CheckpointError(
            f"JITTOR_DDIM_PRETRAINED: {found[0]} is not {model.name}: md5 expected {model.md5}, "
            f"found {md5}; give weights of your own by --pretrained instead of --use_pretrained"
        )
    return found[0]


def _title(dataset: str, category: str | None) -> str:
    return f"{dataset} {category}" if category else dataset
