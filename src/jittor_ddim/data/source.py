"""What all image sources share: their types, how they decode, and what they hold out."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.decoding import eight_bits
from jittor_ddim.diffusion.noise import Stream, generator
from jittor_ddim.errors import DataError, why

Split = Literal["train", "test"]

#: The images' names in the order of the array, and how to get the image of a name.
Opened = tuple[Sequence[str], Callable[[str], Image.Image]]

#: One seed for all runs: what one run holds out, no other run may train on.
_SPLIT_SEED = 0

#: The largest number of a class: what 32 bits hold. A network has a row for each smaller one too.
LARGEST_CLASS = 2**31 - 1


class ImageArray(Protocol):
    """Images uint8 (N, H, W, C) that need not be in memory: an array, a memory map, a stream."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (N, H, W, C)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the images of these rows, uint8 (B, H, W, C)."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """The images of one split, at the configured size and number of channels.

    :ivar images: uint8 (N, H, W, C); of files a read-only memory map or, by ``data.stream``, a
        stream that decodes whatever rows it is asked for
    :ivar name: a description, for people
    :ivar labels: the class of each image, int64 (N,); None if the data set has no classes
    :ivar class_names: from class 0 on; None if the classes have no names
    :ivar reasons: by name, why an image cannot be decoded
    :ivar ignored: how many files have no image extension
    :ivar remarks: what is held out, what is not used, and what was done to how many images
    :ivar files: what the files hold, where the images come from files
    """

    images: ImageArray
    name: str
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    ignored: int = 0
    remarks: tuple[str, ...] = ()
    files: "FilesSeen | None" = None

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of undecodable images."""
        return tuple(self.reasons)

    @property
    def cache(self) -> Path | None:
        """The images' file, if they are memory-mapped."""
        filename = getattr(self.images, "filename", None)
        return Path(filename) if filename else None

    @property
    def streamed(self) -> bool:
        """Whether the images are decoded whenever they are asked for."""
        return not isinstance(self.images, np.ndarray)


class FilesSeen(NamedTuple):
    """What a source's files hold: of both splits, if they are not told apart by name."""

    modes: Mapping[str, int]  # Pillow's names of the kinds of pixels, and how many files
    smallest: tuple[int, int]  # width and height
    largest: tuple[int, int]


class NoClassesError(DataError):
    """A data set states no classes for its images, or not for all."""


class Labels(NamedTuple):
    """The classes of a source's images, by their names."""

    by_name: Mapping[str, int]  # the classes of images
    class_names: tuple[str, ...] | None  # from class 0 on, where the classes have names
    remark: str  # which class is which, for people


@dataclass(frozen=True)
class Source:
    """One split of a data set, or both, before it is decoded.

    ``open`` is called only if there is no valid cache, or for a stream, which keeps it open. Its
    reader may be used by several threads; it raises DataError if bytes cannot be read, and
    anything else if they are not an image.
    """

    name: str  # for people, and different for every source
    fingerprint: str  # changes whenever the images may have changed
    open: Callable[[], AbstractContextManager[Opened]]
    label: Callable[[str], int] | None = None  # the class of an image's name
    class_names: tuple[str, ...] | None = None  # from class 0 on
    find_labels: Callable[[], "Labels"] | None = None  # called only where classes are wanted
    crop: tuple[int, int, int, int] | None = None  # left, upper, right, lower of what is used
    both_splits: bool = False  # 5 % of the images that can be decoded are to be held out
    ignored: int = 0  # files without an image extension
    warnings: tuple[str, ...] = ()  # which files are not used, and why
    remarks: tuple[str, ...] = ()  # what is held out, and why


def is_class(label: object) -> bool:
    """Return whether a file may give an image this class."""
    return type(label) is int and 0 <= label <= LARGEST_CLASS


def fingerprint(*parts: object) -> str:
    """Return a hash of objects by their `repr`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def labelled(source: Source) -> Source:
    """Return a source with classes if it has any; what is decoded of it has a cache of its own.

    :raises NoClassesError: if it could have them, but has not
    :raises DataError: if they are wrong
    """
    if source.label or source.find_labels is None:
        return source
    labels = source.find_labels()
    return replace(
        source,
        name=f"{source.name} with classes",
        fingerprint=fingerprint(source.fingerprint, sorted(labels.by_name.items())),
        label=labels.by_name.__getitem__,
        class_names=labels.class_names,
        remarks=(*source.remarks, labels.remark),
    )


def hold_out(count: int, split: Split, name: str) -> NDArray[np.int64]:
    """Return the positions, ascending, of one split of a data set that has no test split.

    The test split is the last 5 % of a shuffle, at least one image; the shuffle depends only on
    the number of images.

    :param name: of the data set, for the error
    :raises DataError: if there are fewer than two images
    """
    if count < 2:
        raise DataError(
            f"{name}: {count} image(s) found, but at least 2 are needed (one is held out)"
        )
    order = generator(_SPLIT_SEED, Stream.SPLIT).permutation(count)
    held_out = max(1, count // 20)
    return np.sort(order[-held_out:] if split == "test" else order[:-held_out])


def decode(
    image: Image.Image,
    image_size: int | None,
    channels: int | None,
    background: str,
    crop: tuple[int, int, int, int] | None = None,
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return an image of any size and mode as a square array, and what was done to it.

    Pixels become 8-bit ones by the rules of :mod:`jittor_ddim.decoding`. The shorter side becomes
    image_size (antialiased bilinear), then the centre is cut out: torchvision's Resize and
    CenterCrop, rounding included.

    :param image_size: None: the image's own width and height
    :param channels: 3 for RGB, 1 for grey; None: what the image has
    :param background: a colour for transparent pixels
    :returns: uint8 (image_size, image_size, channels), and the changes to report
    """
    decoded = eight_bits(image, background)
    image = decoded.image.crop(crop) if crop else decoded.image
    if channels and image.mode != (mode := "RGB" if channels == 3 else "L"):
        image = image.convert(mode)
    if image_size:
        image = _square(image, image_size)
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels, decoded.changes


def _square(image: Image.Image, side: int) -> Image.Image:
    """The shorter side scaled, then the centre cut out."""
    short, long = sorted(image.size)
    if short != side:
        long = int(side * long / short)
        upright = image.width <= image.height
        size = (side, long) if upright else (long, side)
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    whole = image.size == (side, side)
    return image if whole else image.crop((left, top, left + side, top + side))


@contextmanager
def naming_damage(what: str) -> Iterator[None]:
    """Turn any exception that Pillow and zipfile raise for a damaged file into a DataError.

    :param what: what failed, such as "PATH: cannot decode NAME"
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{what} ({why(error)}); remove it") from None
