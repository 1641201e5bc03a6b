"""The generated side of an evaluation: image files, or samples that no file ever holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.config import Config
from jittor_ddim.data.unscaled import open_unscaled, to_rgb
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.evaluation.reference import jpeg_remark
from jittor_ddim.guidance import Classes
from jittor_ddim.network import Network
from jittor_ddim.sampling import SamplerSettings, sample_images

Pixels = NDArray[np.uint8]
_GREY = "grey"


@dataclass(frozen=True)
class Generated:
    """What is to be evaluated.

    :ivar size: height and width
    :ivar whole: images come in batches of so many, which are not to be divided among processes
    :ivar batches: (batch size, rows) -> functions that load one batch each, RGB (B, H, W, 3); rows
        begin at a whole batch
    :ivar tally: how many of the images that were loaded had something about them
    :ivar facts: what to report of the images, by the tally of all
    """

    name: str
    count: int
    size: tuple[int, int]
    whole: int
    batches: Callable[[int, range], Iterator[Callable[[], Pixels]]]
    tally: Callable[[], dict[str, int]]
    facts: Callable[[dict[str, int]], dict[str, Any]]
    remarks: tuple[str, ...] = ()


@contextmanager
def from_files(path: Path, config: Config | None) -> Iterator[Generated]:
    """Yield the images of a folder, zip or ``.npz``.

    :param config: whose background transparent pixels are laid over; None: white
    :raises DataError: if it holds none
    """
    with open_unscaled(path, config.data.background if config else "white") as found:
        remarks = jpeg_remark(found, "generated")
        if count := found.ignored:
            remarks += (f"{count} files that are not images were left out: {found.left_out}",)

        def batches(batch_size: int, rows: range) -> Iterator[Callable[[], Pixels]]:
            first, end = rows.start // batch_size, -(-rows.stop // batch_size)
            return islice(found.batches(batch_size), first, end)

        def tally() -> dict[str, int]:
            return {_GREY: len(found.grey), **found.changed()}

        def facts(tally: dict[str, int]) -> dict[str, Any]:
            told: dict[str, Any] = {"grey": tally[_GREY], "other_files": found.ignored}
            changed = {what: number for what, number in tally.items() if what != _GREY}
            return told | ({"changed": changed} if changed else {})

        yield Generated(found.name, found.count, found.size, 1, batches, tally, facts, remarks)


def from_network(
    network: Network, settings: SamplerSettings, count: int | None, engine: EngineChoice
) -> Generated:
    """Return samples, made as they are asked for; classes take turns.

    :param count: how many; None takes the config's number
    :raises UserError: if the network cannot be sampled with these settings
    """
    config: Config = network.config
    network.check(settings)
    settings = settings.settled(config.diffusion)
    number = count or config.sampling.num_samples

    sampled = config.sampling.batch_size

    def batches(batch_size: int, rows: range) -> Iterator[Callable[[], Pixels]]:
        unet, classes = network.load(engine), Classes.every(config)
        samples = sample_images(unet, config, settings, rows, sampled, classes)
        while batch := list(islice(samples, batch_size)):
            yield partial(to_rgb, np.stack(batch))

    facts = {
        "grey": number if config.data.channels == 1 else 0,
        "network": network.fingerprint(),
        "weights": network.kind,
        "sampler": settings.recipe(),
        "sampled_by": engine.name,
    }
    size = (config.data.image_size, config.data.image_size)
    return Generated(
        f"samples of {network.source}",
        number,
        size,
        sampled,
        batches,
        dict,
        lambda tally: facts,
    )
