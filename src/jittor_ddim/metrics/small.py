"""Features of small images without a download: this project's own classifiers, in NumPy.

A Fréchet distance on them, FD-small, tells better samples from worse ones of digits and of 32x32
photographs where the Inception network is not available. It is not FID: compare its numbers only
with other FD-small of the same classifier. ``tools/train_small_features.py`` trained them.

Each stage is a 3x3 convolution and ReLU, with a 2x2 average between two stages; the features are
the means of the last stage over the image, as Inception's are; a linear layer gives the logits.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from jittor_ddim.errors import UserError

Floats = NDArray[np.float32]

#: By the height and width of the images they were trained on.
CLASSIFIERS = {8: "digits", 32: "cifar10"}
_FOLDER = Path(__file__).parent / "classifiers"


@dataclass(frozen=True)
class SmallClassifier:
    """A classifier with its weights.

    :ivar kernels: of the stages, (9 C_in, C_out), the rows in the order of y, x, channel
    :ivar biases: of the stages, (C_out,)
    :ivar card: what it was trained on, and how many test images it gets right
    """

    name: str
    channels: int
    kernels: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    head: Floats  # (features, classes)
    head_bias: Floats
    sha256: str
    card: dict[str, Any]

    def prepare(self, images: NDArray[np.uint8]) -> Floats:
        """Return images (B, H, W, 3) as the network's input (B, H, W, channels) in -1 … 1.

        A network of grey images takes the mean of the channels.
        """
        x = images.astype(np.float32) / np.float32(127.5) - 1
        return x if self.channels == 3 else x.mean(axis=3, keepdims=True)

    def features(self, prepared: Floats) -> tuple[Floats, Floats]:
        """Return features (B, D) and logits (B, classes) of prepared images."""
        x, last = prepared, len(self.kernels) - 1
        for stage, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = np.maximum(_convolve(x, kernel) + bias, 0)
            if stage < last:
                x = _halve(x)
        features = x.mean(axis=(1, 2))
        return features, features @ self.head + self.head_bias


def load_small(height: int, width: int) -> SmallClassifier:
    """Return the classifier for images of a size.

    :raises UserError: if there is none, naming the sizes with one
    """
    if height != width or height not in CLASSIFIERS:
        sizes = " and ".join(f"{size}x{size}" for size in CLASSIFIERS)
        raise UserError(
            f"`features` small has classifiers for images of {sizes}, these are {height}x{width}; "
            "set `features` to inception"
        )
    return read_classifier(_FOLDER / f"{CLASSIFIERS[height]}.safetensors")


def read_classifier(path: Path) -> SmallClassifier:
    """Read a file that ``tools/train_small_features.py`` has written."""
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card = json.loads(file.metadata()["card"])
    stages = range(sum(name.startswith("conv.") for name in arrays) // 2)
    kernels = [arrays[f"conv.{i}.weight"] for i in stages]  # (C_out, C_in, 3, 3)
    return SmallClassifier(
        name=path.stem,
        channels=kernels[0].shape[1],
        kernels=tuple(k.transpose(2, 3, 1, 0).reshape(-1, len(k)) for k in kernels),
        biases=tuple(arrays[f"conv.{i}.bias"] for i in stages),
        head=arrays["fc.weight"].T,
        head_bias=arrays["fc.bias"],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        card=card,
    )


def _convolve(x: Floats, kernel: Floats) -> Floats:
    """Convolve (B, H, W, C) by 3x3 with zeros around it, as one matrix product."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    batch, height, width, channels = x.shape
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    columns = np.concatenate(shifted, axis=3).reshape(-1, 9 * channels)
    return (columns @ kernel).reshape(batch, height, width, -1)


def _halve(x: Floats) -> Floats:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
