"""Train the classifiers behind FD-small, with PyTorch, and write them into the package.

    python tools/train_small_features.py digits
    python tools/train_small_features.py cifar10 --train TRAIN.zip --test TEST.zip
    python tools/train_small_features.py tiles --train TILES/train --test TILES/test --out FILE

The archives or folders hold CLASS/NAME.png or .jpg, all of one size. The classifier of tiles reads
samples for study_guidance.py; it is no part of the package. Batch normalisation helps to train and
is folded into the convolutions at the end. Test images only measure; the digits' are those that no
training here sees.
"""

import argparse
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

from jittor_ddim.atomic import write_atomic
from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.files import list_files
from jittor_ddim.data.source import hold_out
from jittor_ddim.metrics import small

WIDTHS = {
    "digits": (1, 16, 32, 64),
    "cifar10": (3, 32, 64, 128, 64),
    "tiles": (3, 32, 64, 128, 64),
}
EPOCHS = {"digits": 60, "cifar10": 12, "tiles": 20}
SOURCES = {
    "digits": "scikit-learn's handwritten digits, the training split",
    "cifar10": "CIFAR-10 (JPEG copy), the 50,000 training images",
    "tiles": "tiles of Dungeon Crawl Stone Soup, the training split of prepare_tiles.py",
}
BATCH = 128
FOLDER = Path(small.__file__).parent / "classifiers"

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Classifier(nn.Module):
    """Stages of convolution, batch norm and ReLU, averages between; then the mean and a head."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.conv = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairs])
        self.norm = nn.ModuleList([nn.BatchNorm2d(b) for _, b in pairs])
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W) in -1 … 1."""
        for stage, (conv, norm) in enumerate(zip(self.conv, self.norm, strict=True)):
            x = functional.relu(norm(conv(x)))
            if stage < len(self.conv) - 1:
                x = functional.avg_pool2d(x, 2)
        return self.fc(x.mean(dim=(2, 3)))

    def folded(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights with batch normalisation folded into the convolutions."""
        arrays = {"fc.weight": self.fc.weight, "fc.bias": self.fc.bias}
        for i, (conv, norm) in enumerate(zip(self.conv, self.norm, strict=True)):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            arrays[f"conv.{i}.weight"] = conv.weight * scale[:, None, None, None]
            arrays[f"conv.{i}.bias"] = norm.bias - norm.running_mean * scale
        return {name: array.detach().numpy().copy() for name, array in arrays.items()}


def read_images(path: Path) -> Labelled:
    """Return the images of an archive or folder, uint8 (N, H, W, 3), and their classes."""
    files = list_files(path)
    names, _ = files.images()
    folders = sorted({name.split("/")[-2] for name in names})
    with files.open() as read:
        pixels = [np.asarray(Image.open(BytesIO(read(name))).convert("RGB")) for name in names]
    return np.stack(pixels), np.array([folders.index(name.split("/")[-2]) for name in names])


def digits() -> tuple[Labelled, Labelled]:
    """Return the digits' training and held-out images, grey in three channels."""
    images, classes = load_digits()
    pixels = np.repeat(images[..., None], 3, axis=3)
    train, test = (hold_out(len(images), split, "digits") for split in ("train", "test"))
    return (pixels[train], classes[train]), (pixels[test], classes[test])


def augment(x: Tensor, flips: bool) -> Tensor:
    """Shift every image by up to an eighth of its size, and mirror half of them if ``flips``."""
    reach = x.shape[2] // 8
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    size = x.shape[2]
    shifted = []
    for image in padded:
        top, left = torch.randint(0, 2 * reach + 1, (2,)).tolist()
        image = image[:, top : top + size, left : left + size]
        shifted.append(image.flip(2) if flips and torch.rand(()) < 0.5 else image)
    return torch.stack(shifted)


def train(name: str, labelled: Labelled) -> Classifier:
    """Train on uint8 images (N, H, W, 3) and their classes."""
    images, classes = labelled
    torch.manual_seed(0)
    model = Classifier(WIDTHS[name], int(classes.max()) + 1)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = x if WIDTHS[name][0] == 3 else x.mean(dim=1, keepdim=True)
    y = torch.from_numpy(classes)
    steps = EPOCHS[name] * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for epoch in range(EPOCHS[name]):
        order = torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH)
        losses = []
        for rows in order:
            logits = model(augment(x[rows], flips=name != "digits"))
            loss = functional.cross_entropy(logits, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{EPOCHS[name]}: loss {np.mean(losses):.4f}", flush=True)
    return model


def accuracy(
    classifier: small.SmallClassifier, images: NDArray[np.uint8], classes: NDArray[np.int64]
) -> float:
    """Return the share of images (N, H, W, 3) whose class the written classifier finds."""
    logits = [
        classifier.features(classifier.prepare(images[start : start + BATCH]))[1]
        for start in range(0, len(images), BATCH)
    ]
    return float((np.concatenate(logits).argmax(axis=1) == classes).mean())


def main() -> None:
    """Train one classifier and write it with its card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=WIDTHS)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path, help="the file; without it, the package's own")
    given = parser.parse_args()
    if given.name == "digits":
        training, test = digits()
    else:
        training, test = read_images(given.train), read_images(given.test)
    arrays = train(given.name, training).folded()
    card = {"trained_on": SOURCES[given.name], "image_size": training[0].shape[1]}
    path = given.out or FOLDER / f"{given.name}.safetensors"
    write_atomic(path, save(arrays, {"card": json.dumps(card)}))
    card["test_accuracy"] = round(accuracy(small.read_classifier(path), *test), 4)
    card["test_images"] = len(test[0])
    write_atomic(path, save(arrays, {"card": json.dumps(card)}))
    print(json.dumps(card))


if __name__ == "__main__":
    main()
