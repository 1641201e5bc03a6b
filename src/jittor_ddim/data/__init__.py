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
from jittor_ddim.data.cache import Progress, open_cached
from jittor_ddim.data.celeba import celeba_source
from jittor_ddim.data.cifar10 import cifar10_source
from jittor_ddim.data.digits import digit_images
from jittor_ddim.data.folder import folder_source
from jittor_ddim.data.lmdb import ffhq_source, lsun_source
from jittor_ddim.data.source import ImageSet, Source, Split
from jittor_ddim.errors import DataError

__all__ = ["ImageSet", "Progress", "Source", "Split", "open_images", "register"]

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
}
_NAMED = 3  # undecodable images that a message names
_log = logging.getLogger(__name__)


def register(name: str, open: Open) -> None:
    """Add a data set that configs name as `data.dataset`."""
    SOURCES[name] = open
    if name not in DATASETS:
        DATASETS.append(name)


def open_images(
    config: Config, split: Split, exp: Path, progress: Progress | None = None
) -> ImageSet:
    """Open the images of one split; decode them first if there is no valid cache.

    Held out is the data set's own test split or, without one, 5 % of a fixed shuffle of the images
    that can be decoded. What people should know about the images is logged.

    :param exp: the experiment root; data sets are in exp/datasets
    :param progress: called with (images done, images in total) while decoding
    :raises DataError: if images are missing or unreadable (with data.strict: even one)
    :raises MachineError: if the cache cannot be written
    """
    data = config.data
    exp = Path(exp)
    source = SOURCES[data.dataset](data, split, exp)
    if isinstance(source, ImageSet):
        return source
    images, record = open_cached(source, data, exp, progress)
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
        images, labels = images[rows], None if labels is None else labels[rows]
    remarks = (*source.remarks, *warnings, *changes)
    return ImageSet(images, name, labels, record.skipped, source.ignored, remarks)


def _undecodable(reasons: Mapping[str, str]) -> str:
    named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED]]
    more = ", …" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} undecodable image(s): {', '.join(named)}{more}"


@functools.cache  # most lines hold for both splits, which are opened one after the other
def _say_once(level: int, line: str) -> None:
    _log.log(level, "%s", line)
