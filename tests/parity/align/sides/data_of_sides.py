"""What the sides of the tests share: which bug is planted, and batches that NumPy draws."""

import os

import numpy as np

BUG = os.environ.get("ALIGN_BUG", "")
RATES = [0.01 * 0.9**k for k in range(100)]


def images(step: int, size: int = 8) -> dict:
    """Four small images with labels."""
    random = np.random.default_rng(step)
    return {
        "image": random.normal(0.3, 3.0, (4, 3, size, size)).astype(np.float32),
        "label": random.integers(0, 5, 4),
    }


def sentences(step: int) -> dict:
    """Four sequences of eight vectors, a time each, and what is to be found."""
    random = np.random.default_rng(step)
    return {
        "x": random.normal(0.0, 0.5, (4, 8, 16)).astype(np.float32),
        "t": (random.random(4) * 20000).astype(np.float32),
        "target": random.normal(size=(4, 8, 16)).astype(np.float32),
    }
