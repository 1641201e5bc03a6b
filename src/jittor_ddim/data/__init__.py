"""Real images: where they come from, how they become network input, and the training loader."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
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
    """The images of one split, at the configured size and number of channels."""

    images: NDArray[np.uint8]  # (N, H, W, C); a read-only memory map for all but the digits
    name: str  # for people
    skipped: tuple[str, ...] = ()  # names of undecodable images
    ignored: int = 0  # files that are not images by their extension

    @property
    def cache(self) -> Path | None:
        """The file behind the images, if they are memory-mapped."""
        filename = getattr(self.images, "filename", None)
        return Path(filename) if filename else None


def open_images(
    config: Config, split: Split, exp: Path, progress: Progress | None = None
) -> ImageSet:
    """Open the images of one split; decode them first if there is no valid cache.

    Held out is the data set's own test split or, without one, 5 % of a fixed shuffle.

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
    images, skipped = open_cached(source, data.image_size, data.channels, exp, progress)
    if skipped:
        names = ", ".join(skipped[:_NAMED]) + (", …" if len(skipped) > _NAMED else "")
        message = f"{source.name}: {len(skipped)} undecodable image(s): {names}"
        if data.strict:
            raise DataError(f"{message}; remove them, or set data.strict to false")
        _log.warning("%s; left out", message)
    return ImageSet(images, source.name, skipped, source.ignored)
