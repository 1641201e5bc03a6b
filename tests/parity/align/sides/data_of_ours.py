"""The config, data and fresh weights of our own U-Net, as small as it gets or as ALIGN_CONFIG."""

import os

import numpy as np

from jittor_ddim.config import load_config
from jittor_ddim.initialization import fresh_weights

CONFIG = load_config(os.environ.get("ALIGN_CONFIG", "digits.yml"))
WEIGHTS = fresh_weights(CONFIG, 1234)
_SIZE, _CHANNELS = CONFIG.data.image_size, CONFIG.data.channels


def noisy(step: int) -> dict:
    """Four noisy images, their timesteps and the noise that is to be predicted."""
    random = np.random.default_rng(step)
    shape = (4, _CHANNELS, _SIZE, _SIZE)
    return {
        "x": random.normal(size=shape).astype(np.float32),
        "t": random.integers(0, 1000, 4).astype(np.float32),
        "noise": random.normal(size=shape).astype(np.float32),
    }
