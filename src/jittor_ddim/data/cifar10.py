"""CIFAR-10 from its official archive: found on this machine, or downloaded and checked."""

import os
import pickle
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Opened, Source, Split, fingerprint
from jittor_ddim.downloads import download, hash_of
from jittor_ddim.errors import DataError, DownloadError
from jittor_ddim.user_cache import expand_home, user_home

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
_FOLDER = "cifar-10-batches-py"
_BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}


def cifar10_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return CIFAR-10's 50,000 training or 10,000 test images.

    Looked for in data.root (the archive, the folder cifar-10-batches-py, or a folder that holds
    one of them) or, without it, under exp/datasets and where Jittor keeps its own copy; if it is
    nowhere, the archive is downloaded into exp/datasets/cifar10.

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
    try:
        download(_URL, path, f"md5:{ARCHIVE_MD5}")
    except DownloadError as error:
        raise DataError(
            f"CIFAR-10 cannot be downloaded: {error}; put {ARCHIVE} (md5 {ARCHIVE_MD5}) into "
            f"{path.parent}, or set data.root to it"
        ) from None
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
    rows = np.concatenate([_read_batch(contents[name], place / name) for name in names])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    keys = [str(i) for i in range(len(images))]
    yield keys, lambda key: Image.fromarray(np.ascontiguousarray(images[int(key)]))


def _read_archive(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named members' contents, in one pass and without unpacking anything."""
    md5 = hash_of(path, "md5")
    if md5 != ARCHIVE_MD5:
        raise DataError(
            f"{path}: its md5 is {md5}, not {ARCHIVE_MD5}: damaged or not {ARCHIVE}; delete it or "
            "put the official file there"
        )
    contents = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            file = archive.extractfile(member) if name in names else None
            if file:
                contents[name] = file.read()
    return contents


def _read_batch(content: bytes, path: Path) -> NDArray[np.uint8]:
    """The rows of one batch file: uint8 (N, 3072), planes R, G, B."""
    try:
        batch = _ArrayUnpickler(BytesIO(content), encoding="bytes").load()
        rows = batch[b"data"] if b"data" in batch else batch["data"]
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3 * 32 * 32:
            raise ValueError(f"{rows.dtype} {rows.shape} instead of uint8 rows of 3072")
    except Exception as error:  # damaged pickles raise nearly anything
        raise DataError(f"{path}: not a CIFAR-10 batch ({error})") from None
    return rows


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Protocol 2 writes bytes as a call of _codecs.encode; no other encoding is used for that."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused to encode as {encoding}")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]  # numpy moves it between its private modules
_PICKLE_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads containers, numbers, strings and numpy arrays; a pickle can name nothing else."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """Return what an array's pickle needs.

        :raises pickle.UnpicklingError: for every other name
        """
        try:
            return _PICKLE_NAMES[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused to load {module_name}.{global_name}") from None
