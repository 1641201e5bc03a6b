"""The four ways from an image of any size to the Inception network's input.

They are those of the three programs whose FIDs people quote. Each measures the same images
differently, so distances of different modes must not be compared.

=============== ============================================== ===========================
mode            to 299x299                                     then
=============== ============================================== ===========================
clean           bicubic, antialiased (Pillow, in floats)       (x - 128) / 128; clean-fid
legacy_pytorch  bilinear between half-pixels, no antialiasing  (x - 128) / 128; clean-fid
pytorch_fid     the same                                       2x/255 - 1; pytorch-fid
tf1             bilinear from pixel i * in/out (TensorFlow 1)  (x - 128) / 128; torch-fidelity
=============== ============================================== ===========================
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.inception import SIZE

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

MODES = ("clean", "legacy_pytorch", "pytorch_fid", "tf1")


def check_mode(mode: str) -> None:
    """Refuse an unknown mode.

    :raises UserError: naming the modes
    """
    if mode not in MODES:
        raise UserError(f"resize {mode!r}: choose one of {', '.join(MODES)}")


def to_input(images: Pixels, mode: str) -> Floats:
    """Return uint8 images (B, H, W, 3) as the network's input (B, 3, 299, 299).

    :raises UserError: if the mode is unknown, or the images have another form
    """
    x = resize(images, mode)
    x = x * np.float32(2 / 255) - 1 if mode == "pytorch_fid" else (x - 128) / np.float32(128)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def resize(images: Pixels, mode: str) -> Floats:
    """Return uint8 images (B, H, W, 3) as float32 (B, 299, 299, 3) in 0 … 255.

    :raises UserError: if the mode is unknown, or the images have another form
    """
    check_mode(mode)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise UserError(f"expected uint8 images (B, H, W, 3), got {images.dtype} {images.shape}")
    if mode == "clean":
        return np.stack([_bicubic(image) for image in images])
    _, height, width, _ = images.shape
    half_pixels = mode != "tf1"
    rows = _bilinear_weights(height, half_pixels)
    columns = _bilinear_weights(width, half_pixels)
    # As two matrix products; each row of the weights has two entries that are not zero.
    x = np.einsum("oh,bhwc->bowc", rows, images.astype(np.float32), optimize=True)
    return np.einsum("pw,bowc->bopc", columns, x, optimize=True)


def _bicubic(image: Pixels) -> Floats:
    channels = [
        Image.fromarray(image[:, :, c].astype(np.float32)).resize(
            (SIZE, SIZE), Image.Resampling.BICUBIC
        )
        for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2).clip(0, 255)


@lru_cache(maxsize=8)
def _bilinear_weights(size: int, half_pixels: bool) -> Floats:
    """Return the weights (299, size) of the pixels for every output pixel."""
    places = np.arange(SIZE, dtype=np.float64)
    scale = size / SIZE
    source = (places + 0.5) * scale - 0.5 if half_pixels else places * scale
    source = source.clip(0, size - 1)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((SIZE, size))
    np.add.at(weights, (np.arange(SIZE), low), 1 - (source - low))
    np.add.at(weights, (np.arange(SIZE), high), source - low)
    return weights.astype(np.float32)
