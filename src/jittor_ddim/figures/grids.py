"""Many images as one."""

import math

import numpy as np
from numpy.typing import NDArray

#: Tiles are enlarged to at most this many pixels where the scale is not given.
_PLEASANT_TILE = 64


def grid(
    images: NDArray[np.uint8],
    columns: int | None = None,
    padding: int = 2,
    background: int = 255,
    scale: int | None = None,
) -> NDArray[np.uint8]:
    """Lay images out row by row, as torchvision's ``make_grid`` does.

    :param images: uint8 (N, H, W, C)
    :param columns: images in a row; None makes the grid square
    :param padding: pixels between tiles and around the grid
    :param background: 0 … 255, the colour of the padding
    :param scale: every pixel becomes scale x scale; None enlarges small images to 33 … 64 pixels
    :returns: uint8 (H', W', C)
    """
    count, height, width, channels = images.shape
    if count < 1:
        raise ValueError("a grid needs at least one image")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    scale = scale or max(1, _PLEASANT_TILE // max(height, width))
    tiles = images.repeat(scale, axis=1).repeat(scale, axis=2)
    step_y, step_x = height * scale + padding, width * scale + padding
    shape = (rows * step_y + padding, columns * step_x + padding, channels)
    canvas = np.full(shape, background, np.uint8)
    for index, tile in enumerate(tiles):
        y = padding + index // columns * step_y
        x = padding + index % columns * step_x
        canvas[y : y + height * scale, x : x + width * scale] = tile
    return canvas
