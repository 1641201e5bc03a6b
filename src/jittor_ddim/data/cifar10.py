"""CIFAR-10 from its official archive: found on this machine, or downloaded and checked."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.checkpoints.numpy_pickles import NAMES
from jittor_ddim.checkpoints.pickles import load
from jittor_ddim.checkpoints.pretrained import fetch
from jittor_ddim.config import DataConfig
from jittor_ddim.console.progress import downloading
from jittor_ddim.data.source import Opened, Source, Split, fingerprint
from jittor_ddim.downloads import hash_of
from jittor_ddim.errors import CheckpointError, DataError, DownloadError
from jittor_ddim.user_cache import expand_home, user_home

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
_FOLDER = "cifar-10-batches-py"
_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}


def cifar10_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return CIFAR-10's 50,000 training or 10,000 test images.

    They are looked for in data.root (the archive, the folder cifar-10-batches-py, or a folder
    with one of them) or, without it, in exp/datasets and where Jittor keeps its own copy; else the
    archive is downloaded into exp/datasets/cifar10.

    :raises DataError: if it cannot be found, downloaded or read
    """
    place = _locate(data.root, exp) or _download(exp)
    names = _BATCHES[split]
    files = [place / name for name in names] if place.is_dir() else [place]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: missing from CIFAR-10; unpack {ARCHIVE} again")
    stats = [file.stat() for file in files]
    return Source(
        name=f"CIFAR-10 of {place} ({split})",
        fingerprint=fingerprint([(stat.st_size, stat.st_mtime_ns) for stat in stats]),
        open=lambda: _open(place, names),
        label=lambda key: int(key.partition("/")[0]),
        class_names=_CLASSES,
    )


def _locate(root: str | None, exp: Path) -> Path | None:
    datasets = exp / "datasets"
    usual = [datasets / "cifar10", datasets / "cifar10_test", datasets]
    if jittor_home := os.environ.get("JITTOR_HOME") or user_home():
        usual.append(Path(jittor_home) / ".cache" / "jittor" / "dataset" / "cifar_data")
    if home := user_home():
        usual.append(home / ".jittor" / "dataset" / "cifar")
    for place in [expand_home(root)] if root else usual:
        if place.is_file() or (place / _BATCHES["test"][0]).is_file():
            return place.resolve()
        for inner in (place / _FOLDER, place / ARCHIVE):
            if inner.exists():
                return inner.resolve()
    if root:
        raise DataError(f"{root}: data.root holds neither {_FOLDER} nor {ARCHIVE}")
    return None


def _download(exp: Path) -> Path:
    path = exp / "datasets" / "cifar10" / ARCHIVE
    md5 = f"md5:{ARCHIVE_MD5}"
    try:
        with downloading("CIFAR-10") as show:
            fetch("CIFAR-10", _URL, ARCHIVE, path, md5, show, f"put it into {path.parent}")
    except DownloadError as error:
        raise DataError(str(error)) from None
    return path.resolve()


@contextmanager
def _open(place: Path, names: tuple[str, ...]) -> Iterator[Opened]:
    try:
        if place.is_dir():
            contents = {name: (place / name).read_bytes() for name in names}
        else:
            contents = _read_archive(place, names)
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error})") from None
    batches = [_read_batch(contents[name], place / name) for name in names]
    images = np.concatenate([rows for rows, _ in batches]).reshape(-1, 3, 32, 32)
    labels = [label for _, labels in batches for label in labels]
    keys = {f"{label}/{i}": i for i, label in enumerate(labels)}
    yield (
        list(keys),
        lambda key: Image.fromarray(np.ascontiguousarray(images[keys[key]].transpose(1, 2, 0))),
    )


def _read_archive(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named members' contents, in one pass and without unpacking anything."""
    md5 = hash_of(path, "md5")
    if md5 != ARCHIVE_MD5:
        raise DataError(
            f"{path}: its md5 is {md5}, not {ARCHIVE_MD5}: damaged or not {ARCHIVE}; delete it or "
            "replace it with the official file"
        )
    contents = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            file = archive.extractfile(member) if name in names else None
            if file:
                contents[name] = file.read()
    return contents


def _read_batch(content: bytes, path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """The rows of one batch file, uint8 (N, 3072), planes R, G, B; and their classes."""
    try:
        batch = load(BytesIO(content), NAMES)
        batch |= {key.decode(): value for key, value in batch.items() if isinstance(key, bytes)}
        rows, labels = batch["data"].array(), [int(label) for label in batch["labels"]]
        if rows.dtype != np.uint8 or rows.shape != (len(labels), 3 * 32 * 32):
            raise ValueError(f"{rows.dtype} {rows.shape} instead of uint8 rows of 3072")
    except (CheckpointError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a CIFAR-10 batch ({error})") from None
    return rows, labels
