"""What guidance does to a network with classes; the figures of docs/samplers.md and of the cards.

    python tools/study_guidance.py MODEL [--classifier FILE] [--data ROOT]

MODEL is the name of a shipped one, or weights that have their config with them. For every W: the
share of samples, classes in turn, that a classifier reads as the class asked for, and that with a
probability of at least 0.9; the same of real held-out images; and FD-small against all real
images. Without --classifier it is the one of FD-small, which knows the ten digits and the ten
classes of CIFAR-10. OUT gets a row of eight samples for each class, for every W from left to
right.
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
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.figures.grids import grid
from jittor_ddim.metrics.small import SmallClassifier, load_small, read_classifier
from jittor_ddim.models import path_or_model
from jittor_ddim.network import NetworkChoice

SURE = 0.9


def read(
    classifier: SmallClassifier, pixels: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features (N, D) and probabilities (N, classes) of images (N, H, W, C)."""
    rgb = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    parts = [
        classifier.features(classifier.prepare(rgb[row : row + 256]))
        for row in range(0, len(rgb), 256)
    ]
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, powers / powers.sum(axis=1, keepdims=True)


def shares(probabilities: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    """Return the shares read as what they should be, and surely so."""
    right = probabilities.argmax(axis=1) == labels
    surely = right & (probabilities.max(axis=1) >= SURE)
    return {"read": round(float(right.mean()), 4), "surely": round(float(surely.mean()), 4)}


def main() -> None:
    """Measure, print as JSON, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--data", help="a folder or zip of images instead of the config's data")
    parser.add_argument("--guidance", type=float, nargs="+", default=[0, 1, 3])
    parser.add_argument("--engine", default="jittor")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--num_samples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("docs/images/guidance.png"))
    given = parser.parse_args()
    network = NetworkChoice(pretrained=path_or_model(given.model)).find_network()
    config, size = network.config, network.config.data.image_size
    assert config.model.num_classes, "the network has no classes"
    if given.data:
        data = config.data.model_copy(update={"root": given.data, "dataset": "FOLDER"})
        config = config.model_copy(update={"data": data})
    splits = [open_images(config, split, Path("exp")) for split in ("train", "test")]
    small = load_small(size, size)
    classifier = read_classifier(given.classifier) if given.classifier else small
    real = np.concatenate([read(small, split.images)[0] for split in splits])
    held_out = read(classifier, splits[1].images)[1]
    rows = [{"real": "held out", **shares(held_out, splits[1].labels)}]
    unet = jd.load_engine(given.engine, precision=given.precision).unet(config, network.weights)
    x_T = jd.initial_noise(config, indices=range(given.num_samples))
    labels = np.arange(given.num_samples) // 8 % config.model.num_classes
    panels = []
    for guidance in given.guidance:
        pixels = []
        for start in range(0, len(x_T), 250):
            part = slice(start, start + 250)
            images = jd.sample(
                unet, config, x_T[part], 20, spacing="logsnr", sampler="dpmpp_2m",
                labels=labels[part].tolist(), guidance=guidance,
            )  # fmt: skip
            pixels.append(to_uint8(from_network(images, config.data)))
        pixels = np.concatenate(pixels)
        panels += [grid(pixels[: 8 * config.model.num_classes], columns=8)]
        panels += [np.full((panels[0].shape[0], 16, panels[0].shape[2]), 255, np.uint8)]
        distance = jd.metrics.fid(real, read(small, pixels)[0])
        found = shares(read(classifier, pixels)[1], labels)
        rows.append({"guidance": guidance, **found, "fd_small": round(distance, 4)})
        print(json.dumps(rows[-1]), flush=True)
    Image.fromarray(np.concatenate(panels[:-1], axis=1).squeeze()).save(given.out)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
