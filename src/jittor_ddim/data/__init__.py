"""Real images: where they come from, how they become network input, and the training loader.

A data set is a function in a file of its own and a line in :data:`SOURCES`; its name is in
:data:`jittor_ddim.config.DATASETS`.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jittor_ddim.config import Config, DataConfig
from jittor_ddim.config_sections import DATASETS
from jittor_ddim.data.cache import open_decoded
from jittor_ddim.data.celeba import celeba_source
from jittor_ddim.data.cifar10 import cifar10_source
from jittor_ddim.data.digits import digit_images
from jittor_ddim.data.ffhq import ffhq_source
from jittor_ddim.data.folder import folder_source
from jittor_ddim.data.lmdb import lsun_source
from jittor_ddim.data.npz import npz_source
from jittor_ddim.data.parquet import parquet_source
from jittor_ddim.data.source import FilesSeen, ImageArray, ImageSet, Source, Split, labelled
from jittor_ddim.data.stream import Streamed
from jittor_ddim.data.survey import Progress
from jittor_ddim.data.tar import tar_source
from jittor_ddim.errors import DataError

__all__ = ["ImageArray", "ImageSet", "Progress", "Source", "Split", "open_images", "register"]

#: Opens one split of a data set below an experiment root: a source is decoded into the cache.
Open = Callable[[DataConfig, Split, Path], Source | ImageSet]
#: By the name in `data.dataset`.
SOURCES: dict[str, Open] = {
    "DIGITS": digit_images,
    "CIFAR10": cifar10_source,
    "CELEBA": celeba_source,
    "LSUN": lsun_source,
    "FFHQ": ffhq_source,
    "FOLDER": folder_source,
    "SHARDS": tar_source,
    "PARQUET": parquet_source,
    "NPZ": npz_source,
}
_NAMED = 3  # undecodable images that a message names
_log = logging.getLogger(__name__)


def register(name: str, open: Open) -> None:
    """Add a data set, under the name that configs give in `data.dataset`."""
    SOURCES[name] = open
    if name not in DATASETS:
        DATASETS.append(name)


def open_images(
    config: Config, split: Split, exp: Path, progress: Progress | None = None
) -> ImageSet:
    """Open the images of one split; decode them first if there is no valid cache.

    By ``data.stream`` they are not kept decoded but read whenever they are asked for; what is
    asked for is the same to the bit.

    The data set's own test split is held out or, without one, 5 % of a fixed shuffle of the images
    that can be decoded. Anything unusual about the images is logged.

    If the config has ``model.num_classes``, every image has a class in that range.

    :param exp: the experiment root; data sets are in exp/datasets
    :param progress: called with (images done, images in total) while decoding
    :raises DataError: if images are missing or unreadable (with data.strict: even one), or classes
        are
    :raises MachineError: if the cache cannot be written
    """
    source = SOURCES[config.data.dataset](config.data, split, Path(exp))
    if not isinstance(source, ImageSet):
        wanted = config.model.num_classes is not None
        source = _decoded(
            labelled(source) if wanted else source, config.data, split, Path(exp), progress
        )
    if config.model.num_classes is not None:
        _check_classes(source, config.model.num_classes, split)
    return source


def _check_classes(images: ImageSet, count: int, split: Split) -> None:
    labels = images.labels
    if labels is None:
        raise DataError(
            f"{images.name}: have no classes, and model.num_classes is {count}; leave the key out"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= count:
        raise DataError(
            f"{images.name}: one has the class {low if low < 0 else high}, but model.num_classes "
            f"{count} allows 0 … {count - 1}; set it to {high + 1}"
        )
    absent = sorted(set(range(count)) - set(labels.tolist()))
    if absent and split == "train":
        names = ", ".join(map(str, absent[:_NAMED])) + (", …" if len(absent) > _NAMED else "")
        _say_once(logging.WARNING, f"{images.name}: none is of class {names} (model.num_classes)")


def _decoded(
    source: Source, data: DataConfig, split: Split, exp: Path, progress: Progress | None
) -> ImageSet:
    """Return a source's images, from its cache or as a stream."""
    images, record = open_decoded(source, data, exp, progress)
    warnings = list(source.warnings)
    if record.skipped:
        message = f"{source.name}: {_undecodable(record.skipped)}"
        if data.strict:
            raise DataError(f"{message}; remove them, or set data.strict to false")
        warnings.append(f"{message}; not used")
    changes = [f"{source.name}: {count} images: {what}" for what, count in record.changes.items()]
    for line in warnings:
        _say_once(logging.WARNING, line)
    for line in (*source.remarks, *changes):
        _say_once(logging.INFO, line)
    labels = np.array(record.labels, np.int64) if record.labels else None
    name = source.name
    if source.both_splits:
        cut = len(images) - record.held_out
        rows, name = (slice(cut) if split == "train" else slice(cut, None)), f"{name} ({split})"
        images = images.part(rows) if isinstance(images, Streamed) else images[rows]
        labels = None if labels is None else labels[rows]
    remarks = (*source.remarks, *warnings, *changes)
    files = None
    if record.smallest and record.largest:  # records of older versions have none
        files = FilesSeen(record.modes, record.smallest, record.largest)
    named = source.class_names
    return ImageSet(images, name, labels, named, record.skipped, source.ignored, remarks, files)


def _undecodable(reasons: Mapping[str, str]) -> str:
    named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED]]
    more = ", …" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} undecodable image(s): {', '.join(named)}{more}"


@functools.cache  # most lines hold for both splits, which are opened one after the other
def _say_once(level: int, line: str) -> None:
    _log.log(level, "%s", line)
