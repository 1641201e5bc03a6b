"""What a page downloads: the images that it shows, computed again, as a file."""

import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.config import Config
from jittor_ddim.figures.animation import animate
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import png_bytes

_SECONDS, _HOLD_SECONDS = 6.0, 1.2
#: By suffix: the type that a browser is told, and whether the file shows every state.
TYPES = {
    "png": ("image/png", False),
    "gif": ("image/gif", True),
    "webp": ("image/webp", True),
    "npz": ("application/octet-stream", False),
}


def encode(suffix: str, frames: list[str], count: int, config: Config) -> bytes:
    """Return a file.

    :param suffix: a key of :data:`TYPES`
    :param frames: pictures of the states as an engine's process sends them; the last one suffices
        for a file that does not show every state
    :param count: images in each
    """
    return _ENCODERS[suffix]([tiles(frame, count, config) for frame in frames])


def tiles(frame: str, count: int, config: Config) -> NDArray[np.uint8]:
    """Return the images of a state, uint8 (count, H, W, C)."""
    size, channels = config.data.image_size, config.data.channels
    with Image.open(BytesIO(base64.b64decode(frame))) as image:
        whole = np.asarray(image)
    rows, columns = whole.shape[0] // size, whole.shape[1] // size
    split = whole.reshape(rows, size, columns, size, channels).swapaxes(1, 2)
    return split.reshape(-1, size, size, channels)[:count]


def _png(states: list[NDArray[np.uint8]]) -> bytes:
    return png_bytes(grid(states[-1]))


def _npz(states: list[NDArray[np.uint8]]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, states[-1])  # as arr_0, which `ddim evaluate` reads
    return buffer.getvalue()


def _animation(suffix: str) -> Callable[[list[NDArray[np.uint8]]], bytes]:
    def make(states: list[NDArray[np.uint8]]) -> bytes:
        with TemporaryDirectory(prefix="ddim-play-") as folder:
            path = Path(folder) / f"sampling.{suffix}"
            animate([grid(state) for state in states], path, _SECONDS, _HOLD_SECONDS)
            return path.read_bytes()

    return make


_ENCODERS: dict[str, Callable[[list[Any]], bytes]] = {
    "png": _png,
    "gif": _animation("gif"),
    "webp": _animation("webp"),
    "npz": _npz,
}
