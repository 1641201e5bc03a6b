"""What guidance does to a digits network with classes; the figures of docs/samplers.md.

    python tools/study_guidance.py WEIGHTS --config CONFIG

For W = 0, 1 and 3: the share of samples that the project's small classifier reads as the digit
asked for, and FD-small against all real digits, of N samples with classes in turn. It leaves
docs/images/guidance.png: a row of eight for each digit, W = 0, 1, 3 from left to right.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import jittor_ddim as jd
from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.figures.grids import grid
from jittor_ddim.metrics.small import load_small

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure, print as JSON, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--config", required=True)
    parser.add_argument("--engine", default="jittor")
    parser.add_argument("--num_samples", type=int, default=2000)
    args = parser.parse_args()
    config = jd.load_config(args.config)
    unet = jd.load_engine(args.engine).unet(config, jd.load_weights(args.weights))
    x_T = jd.initial_noise(config, indices=range(args.num_samples))
    labels = np.arange(args.num_samples) // 8 % 10
    classifier = load_small(8, 8)
    real, _ = classifier.features(classifier.prepare(load_digits()[0][..., None]))
    panels, rows = [], []
    for guidance in (0, 1, 3):
        images = jd.sample(
            unet, config, x_T, 20, spacing="logsnr", sampler="dpmpp_2m",
            labels=labels.tolist(), guidance=guidance,
        )  # fmt: skip
        pixels = to_uint8(from_network(images, config.data))
        panels.append(grid(pixels[:80], columns=8, scale=4))
        features, logits = classifier.features(classifier.prepare(pixels))
        read = (logits.argmax(axis=1) == labels).mean()
        distance = jd.metrics.fid(real, features)
        rows.append({"guidance": guidance, "read": float(read), "fd_small": distance})
    space = np.full((panels[0].shape[0], 16, panels[0].shape[2]), 255, np.uint8)
    picture = np.concatenate([panels[0], space, panels[1], space, panels[2]], axis=1)
    Image.fromarray(picture.squeeze()).save(ROOT / "docs/images/guidance.png")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
