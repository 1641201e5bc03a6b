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


@dataclass(frozen=True)
class Generated:
    """What is to be evaluated.

    :ivar size: height and width
    :ivar batches: batch size -> functions that load one batch each, RGB (B, H, W, 3)
    :ivar facts: what to report of the images, once all are loaded
    """

    name: str
    count: int
    size: tuple[int, int]
    batches: Callable[[int], Iterator[Callable[[], Pixels]]]
    facts: Callable[[], dict[str, Any]]
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

        def facts() -> dict[str, Any]:
            told: dict[str, Any] = {"grey": len(found.grey), "other_files": found.ignored}
            return told | ({"changed": changed} if (changed := found.changed()) else {})

        yield Generated(found.name, found.count, found.size, found.batches, facts, remarks)


def from_network(
    network: Network, settings: SamplerSettings, count: int | None, engine: EngineChoice
) -> Generated:
    """Return samples, made as they are asked for; classes take turns.

    :param count: how many; None takes the config's number
    :raises UserError: if the network cannot be sampled with these settings
    """
    config: Config = network.config
    network.check(settings)
    number = count or config.sampling.num_samples

    def batches(batch_size: int) -> Iterator[Callable[[], Pixels]]:
        unet = network.load(engine)
        size, classes = config.sampling.batch_size, Classes.every(config)
        samples = sample_images(unet, config, settings, range(number), size, classes)
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
    return Generated(f"samples of {network.source}", number, size, batches, lambda: facts)
