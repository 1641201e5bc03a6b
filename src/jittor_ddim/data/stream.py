"""Images that are decoded whenever they are asked for, in place of an array of all of them."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Opened, Source, decode
from jittor_ddim.data.survey import Record, held_out_last
from jittor_ddim.errors import DataError, why

#: With data.stream `auto`, images that take more bytes than this when decoded are streamed.
STREAMED_ABOVE = 32 * 10**9


def is_streamed(data: DataConfig, count: int) -> bool:
    """Return whether so many images are streamed, by ``data.stream`` and their decoded size."""
    if data.stream != "auto":
        return data.stream
    return decoded_bytes(data, count) > STREAMED_ABOVE


def decoded_bytes(data: DataConfig, count: int) -> int:
    """Return how many bytes so many images take when they are decoded."""
    return count * math.prod((data.image_size, data.image_size, data.channels))


@dataclass(frozen=True)
class Streamed:
    """The images of an opened source, read and decoded whenever rows are asked for.

    Nothing is kept: only the rows asked for are in memory. Several threads may ask at once.

    :ivar held: what keeps the source open, as long as this lives
    :ivar positions: (N,), of the images among the source's keys
    """

    source: Source
    data: DataConfig
    opened: Opened
    held: object
    positions: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (N, H, W, C), as an array's."""
        size = self.data.image_size
        return len(self), size, size, self.data.channels

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of these rows, uint8 (B, H, W, C).

        :raises DataError: naming one that can no longer be read
        """
        positions = self.positions[rows]
        images = np.empty((len(positions), *self.shape[1:]), np.uint8)
        for row, position in enumerate(positions.tolist()):
            images[row] = self._image(position)
        return images

    def part(self, rows: slice) -> "Streamed":
        """Return a stream of these rows; nothing is decoded."""
        return replace(self, positions=self.positions[rows])

    def _image(self, position: int) -> NDArray[np.uint8]:
        keys, read = self.opened
        data, key = self.data, keys[position]
        try:
            return decode(
                read(key), data.image_size, data.channels, data.background, self.source.crop
            )[0]
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.source.name}: {key} can no longer be decoded ({why(error)}); it was "
                "changed while it was in use: start again"
            ) from None


def open_streamed(
    source: Source, data: DataConfig, opened: Opened, held: object, record: Record
) -> Streamed:
    """Return the images of a source that can be decoded, in the order of its cache."""
    keys, _ = opened
    usable = np.array([i for i, key in enumerate(keys) if key not in record.skipped], np.int64)
    return Streamed(source, data, opened, held, usable[held_out_last(source, len(usable))])
