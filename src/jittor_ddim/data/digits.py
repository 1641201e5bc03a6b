"""scikit-learn's handwritten digits: 1797 real images that ship with a dependency."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import ImageSet, Split, hold_out

_NATIVE_SIZE = 8


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all digits at their original size, with their classes.

    The data set's values 0 … 16 become round(v 255 / 16).

    :returns: uint8 (1797, 8, 8), and int64 (1797,) in 0 … 9
    """
    # Not at the top: scikit-learn takes a second to import, and few commands need it.
    from sklearn import datasets

    pixels, classes = datasets.load_digits(return_X_y=True)
    images = np.round(pixels * 255 / 16).astype(np.uint8).reshape(-1, _NATIVE_SIZE, _NATIVE_SIZE)
    return images, classes.astype(np.int64)


def digit_images(data: DataConfig, split: Split, exp: Path) -> ImageSet:
    """Return one split of the digits at the configured size; grey, or grey in three channels.

    :param exp: not used
    """
    native, labels = load_digits()
    rows = hold_out(len(native), split, "digits")
    native = native[rows]
    if data.image_size != _NATIVE_SIZE:
        size = (data.image_size, data.image_size)
        bicubic = Image.Resampling.BICUBIC
        native = np.stack([np.asarray(Image.fromarray(x).resize(size, bicubic)) for x in native])
    images = np.repeat(native[..., None], data.channels, axis=3)
    return ImageSet(images, f"scikit-learn's handwritten digits ({split})", labels[rows])
