"""Whether a network draws anew or remembers: how near its samples are to training images.

    python tools/study_memory.py MODEL [--data ROOT] [--guidance W] --out PICTURE

MODEL is the name of a shipped one, or weights that have their config with them. For N samples
(classes in turn, dpmpp_2m, logsnr, 20 calls) and for the held-out images: the distance to the
nearest training image, mirrored ones too if training mirrors, in pixels (L2 over 0 … 1) and in the
features of FD-small. Printed as JSON: the medians, and the share of samples nearer than the
nearest 5 % of the held-out images, than half and than all of them; of images that are as new as
held-out ones the first two are 5 % and 50 %. PICTURE has a sample at the left of each row and then
its nearest training images: eight samples as they come, and the eight nearest of all.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.data import open_images
from jittor_ddim.figures.grids import grid
from jittor_ddim.guidance import Classes
from jittor_ddim.metrics.small import load_small
from jittor_ddim.models import path_or_model
from jittor_ddim.network import NetworkChoice
from jittor_ddim.sampling import SamplerSettings, sample_images

NEIGHBOURS, ROWS, CHUNK = 6, 8, 256
Floats = NDArray[np.float32]


def flat(pixels: NDArray[np.uint8]) -> Floats:
    """Return images as rows of numbers in 0 … 1."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def features(pixels: NDArray[np.uint8]) -> Floats:
    """Return FD-small's features of images (N, H, W, C)."""
    small = load_small(*pixels.shape[1:3])
    rgb = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    parts = [rgb[row : row + CHUNK] for row in range(0, len(rgb), CHUNK)]
    return np.concatenate([small.features(small.prepare(part))[0] for part in parts])


def nearest(rows: Floats, training: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return distances (N, NEIGHBOURS), ascending, and which training rows these are."""
    squares = (training**2).sum(axis=1)
    found = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        distances = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ training.T
        order = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        least = np.take_along_axis(distances, order, axis=1)
        turn = least.argsort(axis=1)
        found.append((np.take_along_axis(least, turn, 1), np.take_along_axis(order, turn, 1)))
    distances, order = (np.concatenate(part) for part in zip(*found, strict=True))
    return np.sqrt(np.maximum(distances, 0)), order


def compare(samples: Floats, held_out: Floats) -> dict[str, float]:
    """Return how near samples are to their nearest training images, beside held-out images."""
    fifth, half = np.quantile(held_out, [0.05, 0.5])
    return {
        "median_of_samples": round(float(np.median(samples)), 4),
        "median_of_held_out": round(float(half), 4),
        "nearer_than_5_percent": round(float((samples < fifth).mean()), 4),
        "nearer_than_half": round(float((samples < half).mean()), 4),
        "nearer_than_all": round(float((samples < held_out.min()).mean()), 4),
    }


def main() -> None:
    """Measure, print as JSON, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", help="instead of the config's data.root")
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--num_samples", type=int, default=1000)
    parser.add_argument("--engine", default="jittor")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    network = NetworkChoice(pretrained=path_or_model(given.model)).find_network()
    config = network.config
    if given.data:
        data = config.data.model_copy(update={"root": given.data})
        config = config.model_copy(update={"data": data})
    training, held_out = (
        np.asarray(open_images(config, split, Path("exp")).images) for split in ("train", "test")
    )
    if config.data.random_flip:
        training = np.concatenate([training, training[:, :, ::-1]])
    unet = jd.load_engine(given.engine, precision=given.precision).unet(config, network.weights)
    settings = SamplerSettings(20, sampler="dpmpp_2m", spacing="logsnr")
    classes = Classes(Classes.every(config).chosen, given.guidance)
    drawn = sample_images(unet, config, settings, range(given.num_samples), 250, classes)
    samples = np.stack(list(drawn))
    report: dict[str, Any] = {"samples": len(samples), "training": len(training)}
    report["held_out"] = len(held_out)
    for name, measure in (("pixels", flat), ("features", features)):
        of_training = measure(training)
        distances, neighbours = nearest(measure(samples), of_training)
        others, _ = nearest(measure(held_out), of_training)
        report[name] = compare(distances[:, 0], others[:, 0])
        if name == "pixels":
            shown = [*range(ROWS), *distances[:, 0].argsort()[:ROWS].tolist()]
            rows = [np.stack([samples[i], *training[neighbours[i]]]) for i in shown]
            picture = grid(np.concatenate(rows), columns=NEIGHBOURS + 1)
            Image.fromarray(picture.squeeze()).save(given.out)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
