"""From one layout of images to another: whatever a source reads becomes files that sources read.

Images become PNG files of 8-bit pixels, by the rules of :mod:`jittor_ddim.decoding`. Their order,
their classes and the splits that the data tell apart stay; what is not told apart is not divided.
"""

import glob
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import NamedTuple

from PIL import Image

from jittor_ddim.atomic import creating_folder, disk_errors, writing
from jittor_ddim.config import DataConfig
from jittor_ddim.data import SOURCES
from jittor_ddim.data.cache import cached_source
from jittor_ddim.data.files import image_extensions, list_files
from jittor_ddim.data.source import (
    ImageSet,
    NoClassesError,
    Opened,
    Source,
    Split,
    decode,
    labelled,
)
from jittor_ddim.data.survey import Progress
from jittor_ddim.data.writers import Kind, Part, Sample, write_folder, write_one_file
from jittor_ddim.errors import DataError, UserError, why
from jittor_ddim.image_files import png_bytes
from jittor_ddim.locks import try_lock

_CHUNK = 256  # images in memory at a time
#: Which data set the files of a suffix are.
_DATASETS = {".tar": "SHARDS", ".parquet": "PARQUET", ".npz": "NPZ"}
_KINDS: dict[str, Kind] = {".zip": "zip", ".parquet": "parquet", ".tar": "tar"}
#: Not taken for a folder's: who gives them expects such a file.
_NOT_WRITTEN = frozenset((".npz", ".npy", ".gz", ".tgz", ".7z", ".mdb"))
_ANY_SIZE = 256  # the key must be there; these data sets are read at any size
_THREADS = min(16, os.cpu_count() or 1)


_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """What images become, as in training; None: what they are."""

    size: int | None = None
    channels: int | None = None
    background: str = "white"


@dataclass
class Converted:
    """What was written.

    :ivar images: how many, by split; "all" if the splits are not told apart
    :ivar classes: those that occur
    :ivar reasons: by name, why an image cannot be decoded and was left out
    """

    images: dict[str, int] = field(default_factory=dict)
    classes: set[int] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)


def find_sources(data: DataConfig, exp: Path) -> dict[str, Source]:
    """Return a data set's images, with their classes, by split; "" if the splits are not told.

    :param exp: the experiment root, below which data sets without ``data.root`` are looked for
    :raises DataError: if images or classes are missing or wrong
    """
    train = _source(data, "train", exp)
    found = {"": train}
    if not train.both_splits:
        found = {"train": train, "test": _source(data, "test", exp)}
    for line in dict.fromkeys(line for one in found.values() for line in one.warnings):
        _log.warning("%s", line)
    for line in dict.fromkeys(line for one in found.values() for line in one.remarks):
        _log.info("%s", line)
    return found


def _source(data: DataConfig, split: Split, exp: Path) -> Source:
    """One split with its classes; what it remarks is on them."""
    source = SOURCES[data.dataset](data, split, exp)
    if isinstance(source, ImageSet):
        return _of_images(source)
    try:
        found = labelled(source)
    except NoClassesError as error:
        return replace(source, remarks=(f"no classes are kept: {error}",))
    return replace(found, remarks=found.remarks[len(source.remarks) :])


def recognised(src: Path, exp: Path) -> dict[str, Source]:
    """Return the images at a path, in whichever layout they are, as :func:`find_sources` does.

    Data sets with layouts of their own (CelebA, LSUN, …) have configs that name them.

    :raises DataError: if there is nothing, or images or classes are wrong
    """
    if src.suffix == ".npy":
        return {"": cached_source(src)}
    names = [src.name] if src.is_file() else list(list_files(src).entries)
    suffixes = {PurePath(name).suffix.lower() for name in names}
    found = [_DATASETS[suffix] for suffix in sorted(suffixes & set(_DATASETS))]
    dataset = "FOLDER" if suffixes & set(image_extensions()) or not found else found[0]
    return find_sources(DataConfig(dataset=dataset, root=str(src), image_size=_ANY_SIZE), exp)


def kind_of(target: Path, to: Kind | None) -> Kind:
    """Return what to write: what is asked for, what the suffix says, else a folder.

    :raises UserError: if they contradict each other, or such a file is not written
    """
    suffix = target.suffix.lower()
    if suffix in _NOT_WRITTEN:
        raise UserError(
            f"{target}: {suffix} is not written; end its name in {', '.join(_KINDS)}, or give a "
            "folder"
        )
    told: Kind | None = _KINDS.get(suffix)
    if (told and to and told != to) or (to == "zip" and not told):
        wanted = f"{target.stem}.zip" if to == "zip" else f"{target.stem}, without a suffix"
        raise UserError(f"{target}: `to` {to} writes something else; call it {wanted}")
    return told or to or "folder"


def is_one_file(target: Path, kind: Kind) -> bool:
    """Return whether the target becomes a file, not a folder."""
    return target.suffix.lower() == f".{kind}"


def check_target(src: Path, target: Path) -> None:
    """Refuse to write into what is read, or over what exists, before anything is read.

    :raises UserError: if the target lies in the source, or exists
    """
    if target.resolve().is_relative_to(src.resolve()):
        raise UserError(f"{target}: lies in {src}, which is read; choose a place outside")
    _check_new(target)


def _check_new(target: Path) -> None:
    if os.path.lexists(target):
        raise UserError(f"{target}: already exists; choose another name, or move it away")


def convert(
    sources: dict[str, Source],
    target: Path,
    kind: Kind,
    form: Form,
    *,
    per_shard: int,
    progress: Progress,
) -> Converted:
    """Write images in another layout, whole or not at all.

    :param sources: by split; "" for both
    :param target: a file if it has the suffix of its kind, else a folder; it must not exist
    :param per_shard: images in a file, if several are written
    :raises DataError: if no image can be decoded
    :raises UserError: if the target exists, or cannot hold two splits
    :raises MachineError: if the disk is full, read-only or broken
    """
    in_one_file = is_one_file(target, kind)
    if in_one_file and kind != "zip" and len(sources) > 1:
        raise UserError(
            f"{target}: one file cannot hold train and test; give a folder, and `to` {kind}"
        )
    done = Converted()
    parts: list[Part] = []

    def advance() -> None:
        seen = sum(done.images.values()) + len(done.reasons)
        progress(seen, sum(part.count for part in parts))

    with ExitStack() as stack:
        stack.enter_context(_alone(target))
        for name, source in sources.items():
            opened = stack.enter_context(source.open())
            encode = _encoder(source, opened, form)
            samples = _samples(name or "all", source, opened[0], encode, done, advance)
            stack.enter_context(closing(samples))  # its threads end before what they read closes
            labels, names = source.label is not None, source.class_names
            parts.append(Part(name, len(opened[0]), samples, labels, names))
        if in_one_file:
            file = stack.enter_context(writing(target, sync=True))
            write_one_file(file, kind, parts)
        else:
            folder = stack.enter_context(creating_folder(target))
            write_folder(folder, kind, parts, per_shard)
            os.sync()  # once, for thousands of files
        _check_any(done)
    return done


def _of_images(images: ImageSet) -> Source:
    """Images that are in memory, as a source."""
    labels = images.labels

    @contextmanager
    def open() -> Iterator[Opened]:
        keys = [str(row) for row in range(len(images.images))]

        def read(key: str) -> Image.Image:
            pixels = images.images[int(key) : int(key) + 1][0]
            return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

        yield keys, read

    label = None if labels is None else lambda key: int(labels[int(key)])
    return Source(images.name, "", open, label=label, class_names=images.class_names)


def _encoder(source: Source, opened: Opened, form: Form) -> Callable[[str], bytes | str]:
    """A function from an image's name to a PNG file, or to why it cannot be decoded."""
    _, read = opened

    def encode(key: str) -> bytes | str:
        try:
            return png_bytes(decode(read(key), *form, source.crop)[0])
        except DataError:
            raise
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
            return why(error)

    return encode


def _samples(
    name: str,
    source: Source,
    keys: Sequence[str],
    encode: Callable[[str], bytes | str],
    done: Converted,
    advance: Callable[[], None],
) -> Generator[Sample | None, None, None]:
    """The images of a source in order, while noting what becomes of them."""
    done.images[name] = 0
    pool = ThreadPoolExecutor(_THREADS, "convert")
    try:
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            results = zip(chunk, pool.map(encode, chunk), strict=True)
            for number, (key, content) in enumerate(results, start):
                sample = None
                if isinstance(content, str):
                    done.reasons[key] = content
                else:
                    label = source.label(key) if source.label else None
                    done.images[name] += 1
                    done.classes |= set() if label is None else {label}
                    sample = Sample(number, content, label)
                advance()  # before the last one too, after which nobody may ask for more
                yield sample
    finally:
        pool.shutdown(cancel_futures=True)


def _check_any(done: Converted) -> None:
    if not any(done.images.values()):
        [(key, reason), *_] = done.reasons.items()
        raise DataError(f"none of {len(done.reasons)} images can be decoded; {key}: {reason}")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Refuse what exists or is being written, and remove what a killed process has left of it.

    :raises UserError: naming it
    """
    lock = target.with_name(f".{target.name}.lock")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        if not try_lock(file):
            raise UserError(f"{target}: is being written by another process; wait for it")
        try:
            _check_new(target)
            for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
        finally:
            lock.unlink(missing_ok=True)
