"""Real images: where they come from, how they become network input, and the training loader."""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config, DataConfig
from jittor_ddim.data.cache import Progress, open_cached
from jittor_ddim.data.celeba import celeba_source
from jittor_ddim.data.cifar10 import cifar10_source
from jittor_ddim.data.digits import digit_images
from jittor_ddim.data.folder import folder_source
from jittor_ddim.data.lmdb import ffhq_source, lsun_source
from jittor_ddim.data.source import Source, Split
from jittor_ddim.errors import DataError

__all__ = ["ImageSet", "Progress", "Split", "open_images"]

_SOURCES: dict[str, Callable[[DataConfig, Split, Path], Source]] = {
    "CIFAR10": cifar10_source,
    "CELEBA": celeba_source,
    "LSUN": lsun_source,
    "FFHQ": ffhq_source,
    "FOLDER": folder_source,
}
_NAMED = 3  # undecodable images that a message names
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSet:
    """The images of one split, at the configured size and number of channels.

    :ivar images: uint8 (N, H, W, C); a read-only memory map for all but the digits
    :ivar name: for people
    :ivar reasons: why the images of these names cannot be decoded
    :ivar ignored: how many files are not images by their ending
    :ivar remarks: what is held out, left out, and how many images were changed how
    """

    images: NDArray[np.uint8]
    name: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    ignored: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of undecodable images."""
        return tuple(self.reasons)

    @property
    def cache(self) -> Path | None:
        """The file behind the images, if they are memory-mapped."""
        filename = getattr(self.images, "filename", None)
        return Path(filename) if filename else None


def open_images(
    config: Config, split: Split, exp: Path, progress: Progress | None = None
) -> ImageSet:
    """Open the images of one split; decode them first if there is no valid cache.

    Held out is the data set's own test split or, without one, 5 % of a fixed shuffle of what can
    be decoded. What people should know of the images is logged.

    :param exp: the experiment root; data sets lie in exp/datasets
    :param progress: called with (images done, images in all) while decoding
    :raises DataError: if images are missing or unreadable (with data.strict: even one)
    :raises MachineError: if the cache cannot be written
    """
    data = config.data
    if data.dataset == "DIGITS":
        return ImageSet(digit_images(data, split), f"scikit-learn's handwritten digits ({split})")
    exp = Path(exp)
    source = _SOURCES[data.dataset](data, split, exp)
    cached = open_cached(source, data, exp, progress)
    warnings = list(source.warnings)
    if cached.skipped:
        message = f"{source.name}: {_undecodable(cached.skipped)}"
        if data.strict:
            raise DataError(f"{message}; remove them, or set data.strict to false")
        warnings.append(f"{message}; left out")
    changes = [f"{source.name}: {count} images: {what}" for what, count in cached.changes.items()]
    for line in warnings:
        _say_once(logging.WARNING, line)
    for line in (*source.remarks, *changes):
        _say_once(logging.INFO, line)
    images, name = cached.images, source.name
    if source.both_splits:
        cut = len(images) - cached.held_out
        images, name = (images[:cut] if split == "train" else images[cut:]), f"{name} ({split})"
    remarks = (*source.remarks, *warnings, *changes)
    return ImageSet(images, name, cached.skipped, source.ignored, remarks)


def _undecodable(reasons: Mapping[str, str]) -> str:
    named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED]]
    more = ", …" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} undecodable image(s): {', '.join(named)}{more}"


@functools.cache  # most lines hold for both splits, which are opened one after the other
def _say_once(level: int, line: str) -> None:
    _log.log(level, "%s", line)
