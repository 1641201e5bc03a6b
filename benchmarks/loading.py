"""What the loader gives beside PyTorch's DataLoader, and what it takes of a step of training.

``python -m benchmarks.loading SIDE WORK FOLDER`` is one side's process: images a second.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jittor_ddim.config import Config, load_config
from jittor_ddim.data import open_images
from jittor_ddim.data.loader import batches
from jittor_ddim.data.transforms import to_network

_SIDES = ("ours", "pytorch")
#: Up to network input: read, decode, flip, scale; or the noise and diffusing of a step too.
_WORKS = ("images", "examples")
_SIZE, _FILES, _BATCH, _WORKERS = 256, 512, 32, 2
_SKIPPED, _TIMED = 8, 24  # batches
_STEP = {"config": "bedroom.yml", "batch": 4, "steps": 4}


def measure_loading(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return images a second by work and side, one number a round; the sides take turns.

    JPEG of 256 x 256 and about 24 KB, two workers: threads here, processes there.
    """
    _write_photos(folder / "photos")
    found = {work: {side: [] for side in _SIDES} for work in _WORKS}
    for number in range(rounds):
        for work in _WORKS:
            for side in _SIDES if number % 2 else reversed(_SIDES):
                command = [sys.executable, "-m", "benchmarks.loading", side, work, str(folder)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                found[work][side].append(float(answer.stdout))
    return found


def measure_share(folder: Path, engine: str) -> dict[str, float]:
    """Return seconds of a step of ``bedroom.yml`` at batch 4 and of waiting for its batch.

    Medians without the first step, whose batch nobody had time to prepare.
    """
    _write_photos(folder / "photos")
    settings = {"data.dataset": "FOLDER", "data.root": folder / "photos", "data.stream": "true"}
    settings |= {"training.batch_size": _STEP["batch"], "training.n_iters": _STEP["steps"]}
    command = [sys.executable, "-m", "jittor_ddim", "train", "--config", str(_STEP["config"])]
    command += ["--doc", engine, "--exp", str(folder), "--engine", engine, "--device", "cpu"]
    command += ["--ni", *(f"--set={key}={value}" for key, value in settings.items())]
    subprocess.run(command, check=True, capture_output=True)
    lines = (folder / "logs" / engine / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines][1:]
    keys = ("step_time_s", "data_time_s")
    return {key: statistics.median(record[key] for record in records) for key in keys}


def describe(raw: dict[str, Any]) -> str:
    """Return a table as Markdown, and the loader's share of a step."""
    lines = [
        "| work | images/s | DataLoader | ratio, each round | bar |",
        "|---|---:|---:|---:|---:|",
    ]
    for work, sides in raw["speed"].items():
        ours, theirs = (sides[side] for side in _SIDES)
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True))
        medians = (f"{statistics.median(side):.0f}" for side in (ours, theirs))
        lines.append(f"| {work} | {' | '.join(medians)} | {ratios} | >= 1.0 |")
    step, wait = raw["share"]["step_time_s"], raw["share"]["data_time_s"]
    share = f"{wait / (step + wait):.2%} of {step:.2f} s"
    return "\n".join([*lines, "", f"Waiting for a batch of `bedroom.yml`: {share}; bar 2 %.", ""])


def _write_photos(folder: Path) -> None:
    """Noisy pictures of a photo's size on disk."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(_FILES):
        colours = Image.fromarray(random.integers(0, 256, (17, 17, 3), np.uint8))
        smooth = np.asarray(colours.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:04d}.jpg", quality=90)


def _ours(work: str, folder: Path) -> Iterator[Any]:
    """Batches of a streamed folder."""
    data = {"dataset": "FOLDER", "root": str(folder / "photos"), "num_workers": _WORKERS}
    overrides = {f"data.{key}": value for key, value in (data | {"stream": True}).items()}
    config = load_config("bedroom.yml", overrides | {"training.batch_size": _BATCH})
    images = open_images(config, "train", folder).images
    if work == "examples":
        with closing(batches(images, config, 0)) as stream:
            yield from stream
    with ThreadPoolExecutor(_WORKERS) as pool:
        rows = np.random.default_rng(0).integers(0, len(images), (_SKIPPED + _TIMED + 2, _BATCH))
        load = partial(_network_input, images, config)
        yield from pool.map(load, range(len(rows)), rows)


def _network_input(images: Any, config: Config, step: int, rows: Any) -> Any:
    return to_network(images[rows], config.data, 0, step, range(_BATCH))


def _pytorch(work: str, folder: Path) -> Iterator[Any]:
    """The same of a DataLoader, as torchvision's transforms would make them."""
    import torch
    from torch.utils.data import DataLoader, Dataset, default_collate

    paths = sorted((folder / "photos").iterdir())
    kept = torch.linspace(0.9999, 0.0064, 1000)

    class Photos(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> torch.Tensor:
            image = Image.open(paths[row]).convert("RGB")
            x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
            return (x.flip(-1) if torch.rand(()) < 0.5 else x).mul_(2).sub_(1)

    def example(images: list[torch.Tensor]) -> Any:
        x0 = default_collate(images)
        eps = torch.randn_like(x0)
        t = torch.randint(1000, (len(x0),))
        a = kept[t].view(-1, 1, 1, 1)
        return x0 * a.sqrt() + eps * (1 - a).sqrt(), t, eps

    collate = example if work == "examples" else None
    loader = DataLoader(
        Photos(), _BATCH, True, num_workers=_WORKERS, collate_fn=collate, persistent_workers=True
    )
    while True:
        yield from loader


def main() -> None:
    """Print one side's images a second."""
    side, work, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    stream = {"ours": _ours, "pytorch": _pytorch}[side](work, folder)
    for _ in islice(stream, _SKIPPED):
        pass
    start = time.perf_counter()
    for _ in islice(stream, _TIMED):
        pass
    print(_TIMED * _BATCH / (time.perf_counter() - start), flush=True)
    stream.close()


if __name__ == "__main__":
    main()
