"""Encode images to noise and decode them again (DDIM, section 5.4 and table 2)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import disk_errors
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.data import open_images
from jittor_ddim.data.folder import read_images
from jittor_ddim.data.transforms import from_network, plain_input, to_uint8
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import save_image
from jittor_ddim.jobs.sample_set import check_preview
from jittor_ddim.network import NetworkChoice
from jittor_ddim.runs.folder import samples_folder
from jittor_ddim.sampling import SamplerSettings, reconstruct

_SHOWN = 8  # images in the picture, each above its reconstructions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReconstructRequest(NetworkChoice):
    """What ``ddim reconstruct`` was asked for."""

    settings: tuple[SamplerSettings, ...]  # each is measured
    count: int
    images: Path | None = None  # None: the held-out images of the config's data set
    image_folder: str = "reconstruction"
    ask: Callable[[str], bool] | None = None
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def run_reconstruction(request: ReconstructRequest) -> dict[str, Any]:
    """Reconstruct images, save them row by row under the originals, and return the errors.

    :returns: for each S the mean squared error a dimension, images scaled to [0, 1] as in the
        paper's table 2, the worst image's, and the file with the picture
    :raises UserError: for anything wrong with the request, before an engine starts
    """
    setup_logging(None, request.verbose)
    request.engine.check()
    network = request.find_network()
    config = network.config
    if config.model.num_classes is not None and config.training.class_dropout == 0:
        raise UserError(
            "images are encoded without a class, and the network has learnt them with their class "
            "alone; take one with training.class_dropout above 0"
        )
    for settings in request.settings:
        settings.encoder_order()
        network.check(settings)
    picture = samples_folder(request.exp, request.image_folder) / "reconstruction.png"
    check_preview(picture, request.ask)
    x0 = _load(request, config)
    unet = network.load(request.engine)

    rows = [x0[:_SHOWN]]
    errors = []
    batches = np.array_split(x0, -(-len(x0) // config.sampling.batch_size))
    for settings in request.settings:
        result = np.concatenate([reconstruct(unet, config, x, settings)[1] for x in batches])
        difference = from_network(result, config.data) - from_network(x0, config.data)
        error = np.mean(difference**2, axis=(1, 2, 3))
        _log.info("S = %d: mean squared error %.6f", settings.count, error.mean())
        errors.append(
            {
                "timesteps": settings.count,
                "mse": float(error.mean()),
                "worst": float(error.max()),
            }
        )
        rows.append(result[:_SHOWN])
    with disk_errors(picture):
        pixels = to_uint8(from_network(np.concatenate(rows), config.data))
        save_image(picture, grid(pixels, columns=len(rows[0])))
    return {"images": len(x0), "errors": errors, "picture": str(picture)}


def _load(request: ReconstructRequest, config: Config) -> NDArray[np.float32]:
    """The images in the network's range, without the randomness of training."""
    if request.images:
        images, changes = read_images(request.images, config.data, request.count)
        for what, count in changes.items():
            _log.info("%s: %d images: %s", request.images, count, what)
    else:
        images = open_images(config, "test", request.exp).images[: request.count]
    return plain_input(images, config.data)
