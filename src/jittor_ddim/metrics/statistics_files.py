"""Files of statistics: clean-fid's, pytorch-fid's and EDM's ``.npz``, and ours, which they read.

All hold ``mu`` (D,) and ``sigma`` (D, D). Ours tells ``count`` and, as JSON in ``origin``, which
features these are of; the others leave that to their names.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ddim.atomic import replacing
from jittor_ddim.errors import DataError, UserError
from jittor_ddim.metrics.identity import Identity
from jittor_ddim.metrics.moments import Moments
from jittor_ddim.user_cache import expand_home, user_cache

_CLEAN_FID = "https://www.cs.cmu.edu/~clean-fid/stats"
_EDM = "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs"
_SYMMETRY = 1e-6  # of the largest entry; float32 statistics are symmetric to about 1e-7


@dataclass(frozen=True)
class Known:
    """Published statistics of the Inception network's features."""

    mode: str
    address: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.address.rpartition("/")[2]


#: clean-fid's ``legacy_tensorflow`` is our ``tf1``. EDM's network resizes by itself: its sampling
#: grid, shifted by 1/w - 1/299, takes pixel i w/299, as TensorFlow 1 did, so that is ``tf1`` too.
KNOWN = {
    **{
        f"cifar10_{name}_{split}": Known(mode, f"{_CLEAN_FID}/cifar10_{name}_{split}_32.npz")
        for name, mode in (
            ("clean", "clean"),
            ("legacy_tensorflow", "tf1"),
            ("legacy_pytorch", "legacy_pytorch"),
        )
        for split in ("train", "test")
    },
    "edm_cifar10": Known("tf1", f"{_EDM}/cifar10-32x32.npz"),
}


@dataclass(frozen=True)
class Statistics:
    """What a file tells.

    :ivar identity: of the features; None in the files of other programs
    :ivar source: the images, for people; None likewise
    :ivar remarks: what a reader of a distance from them should know
    :ivar sha256: of the file
    """

    moments: Moments
    identity: Identity | None
    source: str | None
    remarks: tuple[str, ...]
    sha256: str


def is_statistics(path: Path) -> bool:
    """Tell whether a path is a file of statistics; ``.npz`` files of images are not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_statistics(path: Path) -> Statistics:
    """Read a file of statistics; nothing in it is unpickled.

    :raises DataError: if it is none, naming what is wrong
    """
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            entries = {
                name: file[name] for name in ("mu", "sigma", "count", "origin") if name in file
            }
    # MemoryError: a header may claim more than any memory holds.
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not readable statistics ({' '.join(str(error).split())})"
        ) from None
    missing = [name for name in ("mu", "sigma") if name not in entries]
    if missing:
        raise DataError(f"{path}: no statistics: {' and '.join(missing)} missing")
    mean, covariance = entries["mu"], entries["sigma"]
    _check(path, mean, covariance)
    count, identity, source, remarks = _provenance(path, entries)
    return Statistics(
        Moments(mean.astype(np.float64), covariance.astype(np.float64), count),
        identity,
        source,
        remarks,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def write_statistics(
    path: Path, moments: Moments, identity: Identity, source: str, remarks: Sequence[str] = ()
) -> None:
    """Write statistics with what they are of, whole or not at all.

    :param source: the images, for people
    """
    origin = {"identity": identity.as_dict(), "source": source, "remarks": list(remarks)}
    arrays: dict[str, Any] = {"mu": moments.mean, "sigma": moments.covariance}
    if moments.count is not None:
        arrays["count"] = np.int64(moments.count)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, origin=np.array(json.dumps(origin)))


def find_known(name: str) -> Path:
    """Return the file of known statistics: in ``$JITTOR_DDIM_STATISTICS``, else in the cache.

    They are not downloaded: nobody publishes their hashes, and a file that nothing verifies would
    decide a result.

    :param name: of :data:`KNOWN`
    :raises UserError: if the file is not there, telling its address
    """
    known = KNOWN[name]
    folders = [user_cache() / "statistics"]
    if given := os.environ.get("JITTOR_DDIM_STATISTICS"):
        folders.insert(0, expand_home(given))
    for folder in folders:
        if (folder / known.file).is_file():
            return folder / known.file
    raise UserError(
        f"{name}: get {known.address} and put it into {folders[0]} (or the folder in "
        "JITTOR_DDIM_STATISTICS); its hash is not published, so it is not downloaded unseen"
    )


def _check(path: Path, mean: np.ndarray, covariance: np.ndarray) -> None:
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not len(mean):
        raise DataError(
            f"{path}: mu {mean.shape} and sigma {covariance.shape} are not (D,) and (D, D)"
        )
    for name, array in (("mu", mean), ("sigma", covariance)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(f"{path}: {name} has other than finite floating-point numbers")
    if np.abs(covariance - covariance.T).max() > _SYMMETRY * np.abs(covariance).max():
        raise DataError(f"{path}: sigma is not symmetric, so it is no covariance")


def _provenance(
    path: Path, entries: dict[str, Any]
) -> tuple[int | None, Identity | None, str | None, tuple[str, ...]]:
    """Return count, identity, source and remarks; nothing of a file that has none of them."""
    try:
        count = int(entries["count"]) if "count" in entries else None
        if count is not None and count < 2:
            raise ValueError("too few images")
        if "origin" not in entries:
            return count, None, None, ()
        origin = json.loads(str(entries["origin"]))
        identity = Identity.parse(origin["identity"])
        return count, identity, str(origin["source"]), tuple(map(str, origin["remarks"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        raise DataError(f"{path}: its count or origin is damaged; make it again") from None
