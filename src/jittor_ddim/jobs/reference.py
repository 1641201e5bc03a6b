"""What generated images are compared with: a data set, images, or statistics of either."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import disk_errors, replacing
from jittor_ddim.config import Config
from jittor_ddim.data import open_images
from jittor_ddim.data.cache import cache_folder
from jittor_ddim.data.unscaled import UnscaledImages, from_array, open_unscaled
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.extractor import Extractor, Identity
from jittor_ddim.metrics.extraction import extract
from jittor_ddim.metrics.moments import Moments
from jittor_ddim.metrics.statistics_files import (
    KNOWN,
    find_known,
    is_statistics,
    read_statistics,
    write_statistics,
)
from jittor_ddim.report.progress import decoding, progress

SPLITS = {"train": ("train",), "test": ("test",), "both": ("train", "test")}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """The real side of a distance.

    :ivar count: how many images; None where a statistics file does not tell
    :ivar size: height and width; None where only statistics are known
    :ivar features: (N, D), where they were asked for and there are images
    :ivar remarks: what a reader of the distance should know
    """

    name: str
    moments: Moments
    count: int | None
    size: tuple[int, int] | None
    features: NDArray[np.float32] | None
    remarks: tuple[str, ...]


def check_reference(text: str, config: Config | None) -> None:
    """Refuse a reference that does not exist, before anything starts.

    :param text: ``train``, ``test`` or ``both`` of the config's data set, a path, or a known name
    :raises UserError: naming what there is
    """
    if text in SPLITS:
        if config is None:
            raise UserError(f"--reference {text} is of a data set; add --config, or name a path")
    elif text in KNOWN:
        find_known(text)
    elif not Path(text).expanduser().exists():
        raise UserError(
            f"--reference {text}: no such file or folder; give a path, {', '.join(SPLITS)} (of "
            f"the config's data set) or one of {', '.join(KNOWN)}"
        )


def obtain_reference(
    text: str,
    extractor: Extractor,
    engine: str,
    config: Config | None,
    exp: Path,
    *,
    size: tuple[int, int] | None = None,
    keep_features: bool = False,
) -> Reference:
    """Return the reference, computing its statistics unless they are cached or given.

    Statistics are cached by the content of the images, the network and the engine.

    :param text: as for :func:`check_reference`
    :param size: of the images to compare, height and width; None leaves it unchecked
    :param keep_features: keep the features of all images too
    :raises UserError: if it does not fit the features, or the images' size
    """
    check_reference(text, config)
    path = Path(text).expanduser()
    if text not in SPLITS and (text in KNOWN or is_statistics(path)):
        return _from_statistics(text, extractor.identity)
    with _open(text, config, exp) as images:
        if size and images.size != size:
            raise UserError(
                f"--reference {text}: its images are {_show(images.size)}, those to evaluate "
                f"{_show(size)}; a resize would decide the distance, so make them equal first"
            )
        return _from_images(images, extractor, engine, exp, keep_features)


@contextmanager
def _open(text: str, config: Config | None, exp: Path) -> Iterator[UnscaledImages]:
    if text not in SPLITS or config is None:
        with open_unscaled(Path(text)) as images:
            yield images
        return
    sets = []
    for split in SPLITS[text]:
        with decoding(config.data.dataset) as decoded:
            sets.append(open_images(config, split, exp, decoded))
    arrays = [image_set.images for image_set in sets]
    name = " and ".join(image_set.name for image_set in sets)
    yield from_array(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), name)


def _from_statistics(text: str, identity: Identity) -> Reference:
    known = text in KNOWN
    statistics = read_statistics(find_known(text) if known else Path(text).expanduser())
    mode = KNOWN[text].mode if known else statistics.mode
    theirs = {
        "features": statistics.features or ("inception" if known else None),
        "mode": mode,
        "weights_sha256": statistics.weights_sha256,
    }
    for key, value in theirs.items():
        ours = getattr(identity, key)
        if value is not None and value != ours:
            raise UserError(
                f"--reference {text}: made with {key} {value}, this evaluation has {ours}; "
                "distances of different ones say nothing"
            )
    size = len(statistics.moments.mean)
    remarks = [f"statistics of sha256 {statistics.sha256}"]
    if mode is None and identity.mode:
        remarks.append(f"the file does not tell its mode; taken as {identity.mode}")
    _log.info("Reference: %s, %d features, sha256 %s", text, size, statistics.sha256[:16])
    return Reference(
        name=statistics.source or text,
        moments=statistics.moments,
        count=statistics.moments.count,
        size=None,
        features=None,
        remarks=tuple(remarks),
    )


def _from_images(
    images: UnscaledImages, extractor: Extractor, engine: str, exp: Path, keep_features: bool
) -> Reference:
    key = json.dumps([extractor.identity.as_dict(), engine, images.fingerprint()])
    path = cache_folder(exp) / "statistics" / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    features_path = path.with_suffix(".npy")
    remarks = jpeg_remark(images, "reference")
    if path.exists() and (features_path.exists() or not keep_features):
        _log.info("Reference: %s, %d images, from the cache", images.name, images.count)
        features = np.load(features_path) if keep_features else None
        moments = read_statistics(path).moments
        return Reference(images.name, moments, images.count, images.size, features, remarks)
    with progress(images.count, "Features of the reference") as bar:
        extracted = extract(
            images.batches(extractor.batch_size),
            extractor.network,
            keep_features=keep_features,
            done=bar.advance,
        )
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if extracted.features is not None:
            with replacing(features_path) as temporary, temporary.open("wb") as file:
                np.save(file, extracted.features)
        identity = extractor.identity
        write_statistics(
            path,
            extracted.moments,
            features=identity.features,
            mode=identity.mode,
            weights_sha256=identity.weights_sha256,
            source=images.name,
        )
    return Reference(
        images.name, extracted.moments, images.count, images.size, extracted.features, remarks
    )


def jpeg_remark(images: UnscaledImages, what: str) -> tuple[str, ...]:
    """Return the warning that JPEG files deserve."""
    if not images.jpeg:
        return ()
    return (
        f"{images.jpeg} of the {images.count} {what} images are JPEG files, whose artefacts move "
        "the distance",
    )


def _show(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
