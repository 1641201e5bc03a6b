"""How near samplers come to the exact solution, by network calls; the figures of docs/samplers.md.

    python tools/study_samplers.py MODEL

walks from the same noise with every sampler and spacing and measures the root mean square over
pixels of the distance to the end of a fine walk, for all classes in turn. It leaves
docs/measurements/samplers-MODEL.json, docs/images/samplers-MODEL-error.png, and a strip of
samples, samplers-MODEL-strip.png.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import jittor_ddim as jd
from jittor_ddim.cli.main import main as ddim
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.figures import style
from jittor_ddim.figures.grids import grid
from jittor_ddim.hardware import describe_cpu

ROOT = Path(__file__).parents[1]
CALLS = (5, 8, 10, 15, 20, 50, 100)
#: With more calls than this, only these spacings are measured.
FEW, SPACINGS_OF_MANY = 20, ("uniform", "logsnr", "karras")
#: (sampler, order) as rows; None is the sampler's usual order.
SAMPLERS: list[tuple[str, int | None]] = [
    ("ddim", None), ("dpmpp_2m", None), ("dpmpp_3m", None), ("unipc", 2), ("unipc", 3),
    ("deis", 2), ("deis", 3), ("heun", None), ("plms", None), ("ipndm", 2), ("ipndm", 3),
    ("ipndm", 4),
]  # fmt: skip
#: The rows of the strip: sampler, spacing; and its columns.
STRIP = [("ddim", "uniform"), ("ddim", "logsnr"), ("dpmpp_2m", "logsnr"), ("ipndm", "karras")]
STRIP_CALLS = (5, 10, 20, 100)
_COLOURS = (
    style.INK, style.BLUE, style.SKY, style.ORANGE, style.YELLOW, style.GREEN, style.PINK,
    style.GREY,
)  # fmt: skip


class Study:
    """One network, one set of noise, and its exact images."""

    def __init__(self, args: argparse.Namespace, spacing_file: Path) -> None:
        self.unet, self.config = jd.load_model(args.model, args.engine)
        self.x_T = jd.initial_noise(self.config, seed=1, indices=range(args.images))
        classes = self.config.model.num_classes
        self.labels = [i % classes for i in range(args.images)] if classes else None
        self.spacing_file = spacing_file
        self.exact = self.sample("deis", 3, "logsnr", 300)
        other = self.sample("dpmpp_2m", None, "karras", 300)
        self.uncertainty = rms(self.exact, other)

    def sample(self, sampler: str, order: int | None, spacing: str, calls: int) -> Any:
        """Return the images (B, C, H, W) of one way to walk."""
        where = f"found:{self.spacing_file}" if spacing == "found" else spacing
        return jd.sample(
            self.unet, self.config, self.x_T, calls, spacing=where, sampler=sampler, order=order,
            labels=self.labels,
        )  # fmt: skip

    def errors(self) -> list[dict[str, Any]]:
        """Measure every row."""
        rows = []
        for calls in CALLS:
            for sampler, order in SAMPLERS:
                for spacing in (*SPACINGS, "found") if calls <= FEW else SPACINGS_OF_MANY:
                    begun = time.perf_counter()
                    images = self.sample(sampler, order, spacing, calls)
                    row = {"sampler": sampler, "order": order, "spacing": spacing, "calls": calls}
                    seconds = round(time.perf_counter() - begun, 3)
                    rows.append(row | {"error": rms(images, self.exact), "seconds": seconds})
                    print(rows[-1], flush=True)
        return rows

    def strip(self) -> Image.Image:
        """Return the same samples by several samplers and numbers of calls, and exactly."""
        count = 4
        cells = [
            [self.sample(sampler, None, spacing, calls)[:count] for calls in STRIP_CALLS]
            for sampler, spacing in STRIP
        ]
        tiles = [[self._tile(images) for images in row] for row in cells]
        height, width, _ = tiles[0][0].shape
        margin, head = 120, 24
        size = (margin + len(STRIP_CALLS) * (width + 8), head + len(STRIP) * (height + 8))
        canvas = Image.new("RGB", size, "white")
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
        for column, calls in enumerate(STRIP_CALLS):
            x = margin + column * (width + 8)
            draw.text((x, 4), f"{calls} calls", style.INK, font)
        for number, ((sampler, spacing), row) in enumerate(zip(STRIP, tiles, strict=True)):
            y = head + number * (height + 8)
            draw.text((4, y + height // 2 - 16), f"{sampler}\n{spacing}", style.INK, font)
            for column, tile in enumerate(row):
                canvas.paste(Image.fromarray(tile), (margin + column * (width + 8), y))
        return canvas

    def _tile(self, images: Any) -> Any:
        pixels = to_uint8(from_network(images, self.config.data))
        return grid(np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels, columns=4)


def rms(images: Any, exact: Any) -> float:
    """Return the root mean square of a difference, in the network's units (images in [-1, 1])."""
    return float(np.sqrt(np.mean((images - exact) ** 2, dtype=np.float64)))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw each sampler's error with its best spacing against the calls."""
    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        shown = [("ddim", None), ("dpmpp_2m", None), ("dpmpp_3m", None), ("unipc", 3),
                 ("deis", 3), ("heun", None), ("plms", None), ("ipndm", 3)]  # fmt: skip
        for colour, (sampler, order) in zip(_COLOURS, shown, strict=True):
            own = [r for r in rows if (r["sampler"], r["order"]) == (sampler, order)]
            calls = sorted({r["calls"] for r in own})
            best = {c: min(r["error"] for r in own if r["calls"] == c) for c in calls}
            label = sampler + (f" (order {order})" if order else "")
            axes.loglog([*best], [*best.values()], "o-", ms=3, color=colour, label=label)
        uniform = [r for r in rows if (r["sampler"], r["spacing"]) == ("ddim", "uniform")]
        axes.loglog([r["calls"] for r in uniform], [r["error"] for r in uniform], ":",
                    color=style.INK, label="ddim, uniform")  # fmt: skip
        axes.set_xticks(CALLS, [str(c) for c in CALLS])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("network calls")
        axes.set_ylabel("distance to the exact solution (RMS)")
        axes.set_title("Each sampler with its best spacing")
        axes.legend(ncols=2)
        figure.savefig(path)


def main() -> None:
    """Measure, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="one that ships")
    parser.add_argument("--engine", default="jittor")
    parser.add_argument("--images", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spacing.json"
        few = [c for c in CALLS if c <= FEW]
        calls = sorted({*few, *((c + 1) // 2 for c in few), *(c - 1 for c in few)})
        line = ["spacing", "--model", args.model, "--engine", args.engine, "--out", str(file)]
        if code := ddim([*line, "--num_samples", "64", "--calls", *map(str, calls)]):
            sys.exit(code)
        study = Study(args, file)
        rows = study.errors()
        study.strip().save(ROOT / f"docs/images/samplers-{args.model}-strip.png")
    measured = {"images": args.images, "engine": args.engine, "processor": describe_cpu(),
                "uncertainty": study.uncertainty, "rows": rows}  # fmt: skip
    out = ROOT / f"docs/measurements/samplers-{args.model}.json"
    out.write_text(json.dumps(measured, indent=1) + "\n")
    plot(rows, ROOT / f"docs/images/samplers-{args.model}-error.png")


if __name__ == "__main__":
    main()
