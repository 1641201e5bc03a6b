"""Files of statistics: clean-fid's, pytorch-fid's and EDM's ``.npz``, and ours, which they read.

All hold ``mu`` (D,) and ``sigma`` (D, D). Ours add ``count`` and, as JSON in ``origin``, which
features these are of; the others leave that to their file names.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jittor_ddim.atomic import writing
from jittor_ddim.errors import DataError, UserError, why
from jittor_ddim.evaluation.identity import Identity
from jittor_ddim.metrics.moments import Moments
from jittor_ddim.user_cache import expand_home, user_cache

_CLEAN_FID = "https://www.cs.cmu.edu/~clean-fid/stats"
_EDM = "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs"
_SYMMETRY = 1e-6  # of the largest entry; float32 statistics are symmetric to about 1e-7


class Known(NamedTuple):
    """Published statistics of the Inception network's features."""

    mode: str
    address: str


#: clean-fid's ``legacy_tensorflow`` is our ``tf1``. EDM's network resizes by itself: its sampling
#: grid, shifted by 1/w - 1/299, takes pixel i w/299, as TensorFlow 1 did, so that is ``tf1`` too.
KNOWN = {
    f"cifar10_{name}_{split}": Known(mode, f"{_CLEAN_FID}/cifar10_{name}_{split}_32.npz")
    for name, mode in (
        ("clean", "clean"),
        ("legacy_tensorflow", "tf1"),
        ("legacy_pytorch", "legacy_pytorch"),
    )
    for split in ("train", "test")
} | {"edm_cifar10": Known("tf1", f"{_EDM}/cifar10-32x32.npz")}


class Statistics(NamedTuple):
    """The content of a file."""

    moments: Moments
    sha256: str  #: of the file
    identity: Identity | None = None  #: of the features; None in the files of other programs
    source: str | None = None  #: the images, for people; None likewise
    remarks: tuple[str, ...] = ()  #: what a reader of a distance from them should know


def is_statistics(path: Path) -> bool:
    """Tell whether a path is a file of statistics; ``.npz`` files of images are not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_statistics(path: Path) -> Statistics:
    """Read a file of statistics; nothing in it is unpickled.

    :raises DataError: naming what is wrong with the file
    """
    try:
        # Opened here: NumPy leaves a file open that turns out not to be an archive.
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            entries = {
                name: file[name] for name in ("mu", "sigma", "count", "origin") if name in file
            }
    # MemoryError: a header may claim more than any memory holds.
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not readable statistics ({why(error)})") from None
    mean, covariance = _checked(path, entries)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        count = int(entries["count"]) if "count" in entries else None
        if count is not None and count < 2:
            raise ValueError("too few images")
        moments = Moments(mean.astype(np.float64), covariance.astype(np.float64), count)
        if "origin" not in entries:
            return Statistics(moments, sha256)
        origin = json.loads(str(entries["origin"]))
        identity, remarks = Identity(**origin["identity"]), tuple(map(str, origin["remarks"]))
        return Statistics(moments, sha256, identity, str(origin["source"]), remarks)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise DataError(f"{path}: its count or origin is damaged; create it again") from None


def _checked(path: Path, entries: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance."""
    if missing := [name for name in ("mu", "sigma") if name not in entries]:
        raise DataError(f"{path}: not statistics: {' and '.join(missing)} missing")
    mean, covariance = entries["mu"], entries["sigma"]
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not len(mean):
        raise DataError(
            f"{path}: mu {mean.shape} and sigma {covariance.shape} are not (D,) and (D, D)"
        )
    for name, array in (("mu", mean), ("sigma", covariance)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(f"{path}: {name} must contain only finite floating-point numbers")
    if np.abs(covariance - covariance.T).max() > _SYMMETRY * np.abs(covariance).max():
        raise DataError(f"{path}: sigma is not symmetric, so it is not a covariance")
    return mean, covariance


def write_statistics(
    path: Path, moments: Moments, identity: Identity, source: str, remarks: Sequence[str] = ()
) -> None:
    """Write statistics and what they are of, whole or not at all.

    :param source: the images, for people
    """
    origin = {"identity": asdict(identity), "source": source, "remarks": list(remarks)}
    arrays: dict[str, Any] = {"mu": moments.mean, "sigma": moments.covariance}
    if moments.count is not None:
        arrays["count"] = np.int64(moments.count)
    with writing(path) as file:
        np.savez(file, **arrays, origin=np.array(json.dumps(origin)))


def find_known(name: str) -> Path:
    """Return the file of known statistics: in ``$JITTOR_DDIM_STATISTICS``, else in the cache.

    They are not downloaded: nobody publishes their hashes, and a file that nothing verifies would
    decide a result.

    :param name: of :data:`KNOWN`
    :raises UserError: if the file is not there, with its address
    """
    address = KNOWN[name].address
    folders = [user_cache() / "statistics"]
    if given := os.environ.get("JITTOR_DDIM_STATISTICS"):
        folders.insert(0, expand_home(given))
    for folder in folders:
        if (path := folder / address.rpartition("/")[2]).is_file():
            return path
    raise UserError(
        f"{name}: download {address} and put it into {folders[0]} (or the folder in "
        "JITTOR_DDIM_STATISTICS); its hash is not published, so it is not downloaded unverified"
    )
