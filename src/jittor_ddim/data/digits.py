"""scikit-learn's handwritten digits: 1797 real images that ship with a dependency."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Split, hold_out

_NATIVE_SIZE = 8


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all digits as they are, with their classes.

    The data set's values 0 … 16 become round(v 255 / 16).

    :returns: uint8 (1797, 8, 8), and int64 (1797,) in 0 … 9
    """
    # Not at the top: scikit-learn takes a second to import, and few commands need it.
    from sklearn import datasets

    pixels, classes = datasets.load_digits(return_X_y=True)
    images = np.round(pixels * 255 / 16).astype(np.uint8).reshape(-1, _NATIVE_SIZE, _NATIVE_SIZE)
    return images, classes.astype(np.int64)


def digit_images(data: DataConfig, split: Split) -> NDArray[np.uint8]:
    """Return one split of the digits at the configured size; grey, or grey in three channels.

    :returns: uint8 (N, image_size, image_size, channels)
    """
    native, _ = load_digits()
    native = native[hold_out(len(native), split, "digits")]
    if data.image_size != _NATIVE_SIZE:
        size = (data.image_size, data.image_size)
        bicubic = Image.Resampling.BICUBIC
        native = np.stack([np.asarray(Image.fromarray(x).resize(size, bicubic)) for x in native])
    return np.repeat(native[..., None], data.channels, axis=3)
