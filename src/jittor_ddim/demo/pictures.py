"""The pictures of a demo: real digits, samples by class, and how they emerge from noise."""

from pathlib import Path

import numpy as np

from jittor_ddim.config import Config
from jittor_ddim.data.digits import load_digits
from jittor_ddim.demo.recipe import rows_of_classes
from jittor_ddim.demo.results import Pictures
from jittor_ddim.engines.base import UNet
from jittor_ddim.figures.animation import animate
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import save_image
from jittor_ddim.models import Sampling
from jittor_ddim.sampling import trajectory

_SECONDS, _HOLD_SECONDS = 5.0, 2.0
#: The page carries the animations, so they have a bound.
_ANIMATION_BYTES = 2_000_000
#: Noise compresses badly, so small images are enlarged less than in a grid.
_ANIMATED_TILE = 32
_REAL_OF_A_CLASS = 8


def draw(unet: UNet, config: Config, sampling: Sampling, seed: int, folder: Path) -> Pictures:
    """Sample once; write the ends as ``grid.png`` and the way there as ``sampling.gif``."""
    count, columns, classes = rows_of_classes(config, sampling.guidance)
    settings = sampling.settings(seed)
    states = range(len(settings.sequence(config)) + 1)
    frames = list(trajectory(unet, config, settings, count, states, classes=classes))
    picture, animation = folder / "grid.png", folder / "sampling.gif"
    save_image(picture, grid(frames[-1], columns))
    scale = max(2, _ANIMATED_TILE // config.data.image_size)
    moving = [grid(pixels, columns, scale=scale) for pixels in frames]
    animate(moving, animation, _SECONDS, _HOLD_SECONDS, _ANIMATION_BYTES)
    names = config.data.class_names or tuple(map(str, range(config.model.num_classes or 0)))
    return Pictures(picture, animation, names)


def draw_real(path: Path) -> Path:
    """Write a grid of real digits, a row for each."""
    digits, labels = load_digits()
    rows = [digits[labels == label][:_REAL_OF_A_CLASS] for label in range(10)]
    save_image(path, grid(np.concatenate(rows)[..., None], _REAL_OF_A_CLASS))
    return path
