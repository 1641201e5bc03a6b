"""The published DDPM weights, and how any published file is found or downloaded.

The weights are the originals of Ho et al., converted to PyTorch and averaged (EMA); the official
DDIM code samples from them under the same names.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.config import DataConfig
from jittor_ddim.downloads import Progress, download, hash_of
from jittor_ddim.errors import CheckpointError, DownloadError, UserError
from jittor_ddim.user_cache import expand_home, user_cache

_HOST = "https://heibox.uni-heidelberg.de/f"
_COPIES = "JITTOR_DDIM_PRETRAINED"


@dataclass(frozen=True)
class Published:
    """One set of published weights."""

    name: str  # the official one
    file: str  # its path below a mirror, a folder of copies and the cache alike
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
    ("LSUN", "cat"): Published(
        "ema_lsun_cat",
        "ema_diffusion_lsun_cat_model/model-1761000.ckpt",
        "646f23f4821f2459b8bafc57fd824558",
        f"{_HOST}/0701aac3aa69457bbe34/?dl=1",
    ),
}


def published_weights(data: DataConfig) -> Published:
    """Return the published weights of a data set.

    :raises UserError: if there are none, naming those that exist
    """
    key = data.dataset, data.category if data.dataset == "LSUN" else None
    if key in MODELS:
        return MODELS[key]
    existing = ", ".join(f"{model.name} ({_title(*key)})" for key, model in MODELS.items())
    raise UserError(
        f"`use_pretrained`: no weights are published for {_title(*key)}, only {existing}"
    )


def obtain(model: Published, progress: Progress | None = None) -> Path:
    """Return a file with published weights, downloading it if needed.

    ``$JITTOR_DDIM_PRETRAINED``, a copy or a folder of copies, replaces the download, and
    ``$JITTOR_DDIM_MIRROR`` the published address. Downloads are kept in ``$JITTOR_DDIM_CACHE`` or
    the user's cache. The hash is always checked: `use_pretrained` means exactly these weights.

    :raises CheckpointError: if the copy is missing or has another hash
    :raises DownloadError: if it cannot be downloaded, naming the remedies
    :raises MachineError: if the cache cannot be written
    """
    # As published or, as a browser saves it, without the folder.
    copy = find_copy(_COPIES, (model.file, Path(model.file).name))
    if copy is None:
        path = user_cache() / "pretrained" / model.file
        return fetch(model.name, model.url, model.file, path, f"md5:{model.md5}", progress,
                     f"{_COPIES} to a copy")  # fmt: skip
    if (md5 := hash_of(copy, "md5")) != model.md5:
        raise CheckpointError(
            f"{_COPIES}: {copy} is not {model.name}: expected md5 {model.md5}, found {md5}; for "
            "your own weights use `pretrained` instead of `use_pretrained`"
        )
    return copy


def find_copy(variable: str, names: Iterable[str]) -> Path | None:
    """Return the file that an environment variable names, or one of ``names`` in its folder.

    :returns: None if the variable is not set
    :raises CheckpointError: if it is set, but there is no such file
    """
    if not (given := os.environ.get(variable)):
        return None
    place = expand_home(given)
    files = [place / name for name in names] if place.is_dir() else [place]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{variable}: no file {files[0]}; put it there, or unset the variable to download it"
        )
    return found


def fetch(
    what: str, url: str, file: str, path: Path, digest: str, progress: Progress | None, or_set: str
) -> Path:
    """Download a published file, from ``$JITTOR_DDIM_MIRROR`` or its own address.

    :param or_set: other remedies, to follow "set …, or" in the error
    :raises DownloadError: naming the remedies
    """
    mirror = os.environ.get("JITTOR_DDIM_MIRROR")
    try:
        download(f"{mirror.rstrip('/')}/{file}" if mirror else url, path, digest, progress)
    except DownloadError as error:
        algorithm, _, expected = digest.partition(":")
        raise DownloadError(
            f"{what} cannot be downloaded: {error}; set JITTOR_DDIM_MIRROR to the URL of a mirror "
            f"with {file} ({algorithm} {expected}), or {or_set}"
        ) from None
    return path


def _title(dataset: str, category: str | None) -> str:
    return f"{dataset} {category}" if category else dataset
