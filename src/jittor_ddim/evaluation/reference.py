"""What generated images are compared with: a data set, images, or statistics of either."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jittor_ddim.atomic import writing
from jittor_ddim.config import Config
from jittor_ddim.console.progress import decoding, progress
from jittor_ddim.data import open_images
from jittor_ddim.data.cache import cache_folder
from jittor_ddim.data.unscaled import UnscaledImages, from_arrays, open_unscaled
from jittor_ddim.errors import DataError, UserError
from jittor_ddim.evaluation.extractor import Extractor, Floats, extract
from jittor_ddim.evaluation.statistics_files import (
    KNOWN,
    find_known,
    is_statistics,
    read_statistics,
    write_statistics,
)
from jittor_ddim.image_files import show_size
from jittor_ddim.metrics.moments import Moments
from jittor_ddim.user_cache import expand_home

SPLITS = {"train": ("train",), "test": ("test",), "both": ("train", "test")}
_log = logging.getLogger(__name__)


class Reference(NamedTuple):
    """The real side of a distance."""

    name: str
    moments: Moments
    features: Floats | None  #: (N, D), where they were asked for and there are images
    remarks: tuple[str, ...]  #: what a reader of the distance should know


def check_reference(text: str, config: Config | None) -> None:
    """Refuse a reference that does not exist, before anything starts.

    :param text: ``train``, ``test`` or ``both`` of the config's data set, a path, or a known name
    :raises UserError: naming the choices
    """
    if text in SPLITS:
        if config is None:
            raise UserError(
                f"`reference` {text} is part of a data set; give `config`, or name a path"
            )
    elif text in KNOWN:
        find_known(text)
    elif not expand_home(text).exists():
        raise UserError(
            f"`reference` {text}: no such file or folder; give a path, {', '.join(SPLITS)} (of "
            f"the config's data set) or one of {', '.join(KNOWN)}"
        )


def obtain_reference(
    text: str,
    extractor: Extractor,
    config: Config | None,
    exp: Path,
    size: tuple[int, int],
    *,
    keep_features: bool = False,
) -> Reference:
    """Return the reference, computing its statistics unless they are cached or given.

    Statistics are cached by the content of the images, the network and what computed it.

    :param text: as for :func:`check_reference`, which must have passed
    :param size: of the images to compare, height and width
    :param keep_features: keep the features of all images too
    :raises UserError: if it does not fit the features, or the images' size
    """
    if text not in SPLITS and (text in KNOWN or is_statistics(expand_home(text))):
        return _from_statistics(text, extractor)
    with _open(text, config, exp) as images:
        if images.size != size:
            raise UserError(
                f"`reference` {text}: its images are {show_size(images.size)}, those to evaluate "
                f"{show_size(size)}; resizing would decide the distance, so make them equal first"
            )
        return _from_images(images, extractor, exp, keep_features)


@contextmanager
def _open(text: str, config: Config | None, exp: Path) -> Iterator[UnscaledImages]:
    if text not in SPLITS or config is None:
        with open_unscaled(Path(text), config.data.background if config else "white") as images:
            yield images
        return
    sets = []
    for split in SPLITS[text]:
        with decoding(config.data.dataset) as decoded:
            sets.append(open_images(config, split, exp, decoded))
    name = " and ".join(image_set.name for image_set in sets)
    remarks = dict.fromkeys(line for image_set in sets for line in image_set.remarks)
    yield from_arrays([image_set.images for image_set in sets], name, tuple(remarks))


def _from_statistics(text: str, extractor: Extractor) -> Reference:
    known, identity = KNOWN.get(text), extractor.identity
    statistics = read_statistics(find_known(text) if known else expand_home(text))
    theirs = statistics.identity
    if theirs is None:  # another program's: what it does not tell is taken to be the same
        theirs = identity
        if known:
            theirs = replace(identity, features="inception", mode=known.mode, published=True)
    if different := identity.differences(theirs):
        raise UserError(
            f"`reference` {text}: made with {', '.join(different)}; a distance between the two "
            "would be meaningless"
        )
    if (size := len(statistics.moments.mean)) != extractor.dimensions:
        raise UserError(
            f"`reference` {text}: statistics of {size} features, {identity.features} has "
            f"{extractor.dimensions}; make both with the same network"
        )
    remarks = [*statistics.remarks, f"reference statistics of sha256 {statistics.sha256}"]
    if not known and statistics.identity is None:
        remarks.append(f"their file does not tell what made them; taken as {identity.distance}'s")
    return Reference(statistics.source or text, statistics.moments, None, tuple(remarks))


def _from_images(
    images: UnscaledImages, extractor: Extractor, exp: Path, keep_features: bool
) -> Reference:
    identity = asdict(extractor.identity)
    key = json.dumps([identity, extractor.computed_by, images.fingerprint()])
    name = hashlib.sha256(key.encode()).hexdigest()
    path = cache_folder(exp) / "features" / f"{name}.npz"
    features_path = path.with_suffix(".npy")
    remarks = (*images.remarks, *jpeg_remark(images, "reference"))
    if images.ignored:
        remarks += (f"{images.ignored} other files of the reference were ignored",)
    if path.exists() and (features_path.exists() or not keep_features):
        try:
            statistics = read_statistics(path)
            features = np.load(features_path, allow_pickle=False) if keep_features else None
            _log.info("Reference: %s, %d images, from the cache", images.name, images.count)
            remarks += statistics.remarks
            return Reference(images.name, statistics.moments, features, remarks)
        except (DataError, OSError, ValueError, EOFError) as error:
            _log.warning("%s: damaged, so computed again (%s)", path, error)
    with progress(images.count, "Features of the reference") as bar:
        extracted = extract(
            images.batches(extractor.batch_size),
            extractor,
            keep_features=keep_features,
            done=bar.advance,
        )
    found = _found_remarks(images)
    if extracted.features is not None:
        with writing(features_path) as file:
            np.save(file, extracted.features)
    write_statistics(path, extracted.moments, extractor.identity, images.name, found)
    return Reference(images.name, extracted.moments, extracted.features, remarks + found)


def _found_remarks(images: UnscaledImages) -> tuple[str, ...]:
    """What is known only once all images were read, so that the cache has to keep it."""
    count = len(images.grey)
    grey = (f"{count} grey images of the reference were made RGB",) if count else ()
    changed = images.changed().items()
    return (*grey, *(f"{number} images of the reference: {what}" for what, number in changed))


def jpeg_remark(images: UnscaledImages, what: str) -> tuple[str, ...]:
    """Return the warning about JPEG files, if there are any."""
    if not images.jpeg:
        return ()
    return (
        f"{images.jpeg} of the {images.count} {what} images are JPEG files, whose artefacts move "
        "the distance",
    )
