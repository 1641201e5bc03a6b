"""Configs and images for the tests of `jittor_ddim.data`."""

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.config import parse_config


@pytest.fixture
def make_config():
    """A valid config from the keys of its data section."""

    def make(batch_size=4, num_classes=None, **data):
        data = {"dataset": "FOLDER", "image_size": 8, **data}
        channels = data.get("channels", 3)
        return parse_config(
            {
                "data": data,
                "model": {
                    "in_channels": channels,
                    "out_ch": channels,
                    "ch_mult": [1],
                    "attn_resolutions": [],
                    "num_classes": num_classes,
                },
                "training": {"batch_size": batch_size},
            },
            "test",
        )

    return make


@pytest.fixture
def write_images():
    """Write n random PNG images of 8 x 8, and return them in the order of their names."""

    def write(folder, n, seed=0, size=(8, 8)):
        folder.mkdir(parents=True, exist_ok=True)
        images = np.random.default_rng(seed).integers(0, 256, (n, *size, 3), np.uint8)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{i:04d}.png")
        return images

    return write
